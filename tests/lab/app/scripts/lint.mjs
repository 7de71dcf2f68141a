// The house rules that a machine can see: no tabs, no blanks at a line's end, one newline at the end.
import { readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

const files = readdirSync('packages', { recursive: true })
  .filter((file) => /(^|\/)(src|test)\/.*\.js$/.test(file) && !file.includes('node_modules'))
  .map((file) => join('packages', file));
let found = 0;
for (const file of files) {
  const text = readFileSync(file, 'utf8');
  text.split('\n').forEach((line, index) => {
    if (/\t|\s$/.test(line)) {
      console.error(`${file}:${index + 1}: a tab, or a blank at the end`);
      found += 1;
    }
  });
  if (!text.endsWith('\n') || text.endsWith('\n\n')) {
    console.error(`${file}: not exactly one newline at the end`);
    found += 1;
  }
}
process.exit(found === 0 ? 0 : 1);
