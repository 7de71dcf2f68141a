// Prints the processes of PM2 as JSON, without their environment; `null` if no daemon runs.
// Arguments: the pm2 program.
const { execFileSync } = require('child_process');
const net = require('net'), os = require('os'), path = require('path');
const home = process.env.PM2_HOME || path.join(os.homedir(), '.pm2');
const socket = net.connect(path.join(home, 'rpc.sock'));
socket.on('error', () => console.log('null'));
socket.on('connect', () => {
  socket.destroy();
  const said = execFileSync(process.argv[2], ['jlist', '--silent'], { encoding: 'utf8', maxBuffer: 1 << 28, stdio: ['ignore', 'pipe', 'inherit'] });
  // Notices may stand before it, and they begin with a bracket too.
  const line = said.split('\n').find((line) => line.startsWith('[{') || line.trim() === '[]');
  if (!line) { console.error('pm2 jlist printed no list'); process.exit(1); }
  console.log(JSON.stringify(JSON.parse(line).map((app) => ({
    name: app.name, id: app.pm_id, pid: app.pid || null, state: app.pm2_env.status,
    restarts: app.pm2_env.restart_time || 0, started_ms: app.pm2_env.pm_uptime || 0,
    memory: (app.monit || {}).memory || 0, cpu: Math.round((app.monit || {}).cpu || 0),
    dir: app.pm2_env.pm_cwd || '', out_log: app.pm2_env.pm_out_log_path || '', error_log: app.pm2_env.pm_err_log_path || '',
  }))));
});
