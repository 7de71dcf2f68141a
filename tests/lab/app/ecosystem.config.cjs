// What PM2 runs: the site, and the worker of the queue of corrections.
const common = { cwd: __dirname, time: true, kill_timeout: 3000, exp_backoff_restart_delay: 50 };

module.exports = {
  apps: [
    { ...common, name: 'eaf-platform', script: 'packages/web/dist/server.js' },
    { ...common, name: 'eaf-worker', script: 'packages/worker/dist/worker.js' },
  ],
};
