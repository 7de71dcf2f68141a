// What PM2 runs: the site, and the worker of the queue of corrections.
// However often one crashes, it is tried again.
const common = { cwd: __dirname, time: true, kill_timeout: 3000, restart_delay: 250, max_restarts: 100_000 };

module.exports = {
  apps: [
    { ...common, name: 'eaf-platform', script: 'packages/web/dist/server.js' },
    { ...common, name: 'eaf-worker', script: 'packages/worker/dist/worker.js' },
  ],
};
