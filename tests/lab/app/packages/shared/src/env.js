// The configuration: the environment, and .env for what it does not say.
import { existsSync, readFileSync } from 'node:fs';

export function loadEnv(file = '.env') {
  if (!existsSync(file)) return;
  for (const line of readFileSync(file, 'utf8').split('\n')) {
    const [, name, raw] = /^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$/.exec(line) ?? [];
    if (!name) continue;
    const quoted = /^(["'])(.*)\1$/.exec(raw);
    process.env[name] ??= quoted ? quoted[2] : raw;
  }
}

// The values of these variables; all that lack are named at once.
export function required(...names) {
  const missing = names.filter((name) => !process.env[name]);
  if (missing.length > 0) {
    throw new Error(`missing in .env: ${missing.join(', ')}`);
  }
  return Object.fromEntries(names.map((name) => [name, process.env[name]]));
}
