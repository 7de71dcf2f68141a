export * from './env.js';
export * from './log.js';
export * from './security.js';
export * from './stores.js';

// The queue of copies that wait for their correction.
export const CORRECTIONS = 'corrections';
