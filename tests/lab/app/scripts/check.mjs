// Parses every source file; `check` gives the number of those that can't be.
import { execFile } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export async function check(folder) {
  const files = readdirSync(folder, { recursive: true }).filter((file) => file.endsWith('.js'));
  const parsed = await Promise.all(files.map((file) => parses(join(folder, file))));
  return parsed.filter((good) => !good).length;
}

function parses(file) {
  return new Promise((done) => {
    execFile(process.execPath, ['--check', file], (error, stdout, stderr) => {
      process.stderr.write(stderr);
      done(!error);
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const packages = join(dirname(dirname(fileURLToPath(import.meta.url))), 'packages');
  const failed = await Promise.all(readdirSync(packages).map((name) => check(join(packages, name, 'src'))));
  process.exit(failed.every((count) => count === 0) ? 0 : 1);
}
