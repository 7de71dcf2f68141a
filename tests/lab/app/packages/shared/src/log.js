// One JSON object a line, in the shape of pino.
const levels = { info: 30, warn: 40, error: 50 };

function write(level, fields, msg) {
  const line = JSON.stringify({ level: levels[level], time: Date.now(), pid: process.pid, ...fields, msg });
  (level === 'error' ? process.stderr : process.stdout).write(`${line}\n`);
}

export const log = {
  info: (fields, msg) => write('info', fields, msg),
  warn: (fields, msg) => write('warn', fields, msg),
  error: (fields, msg) => write('error', fields, msg),
};
