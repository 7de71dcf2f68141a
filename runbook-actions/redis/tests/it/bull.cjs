// The real BullMQ of NODE_PATH: `node bull.cjs URL QUEUE COMMAND [ARGUMENTS]`.
const [url, queueName, command, ...rest] = process.argv.slice(2);
const IORedis = require('ioredis');
const { Queue, Worker, FlowProducer } = require('bullmq');
const connection = new IORedis(url, { maxRetriesPerRequest: null });
const forGood = { attempts: 1 };

const commands = {
  // add NAME COUNT OPTIONS
  async add(queue, [name, count, options]) {
    const ids = [];
    for (let i = 0; i < Number(count); i += 1) {
      const job = await queue.add(name, { number: i }, { ...forGood, ...JSON.parse(options ?? '{}') });
      ids.push(job.id);
    }
    return ids;
  },
  // A parent that waits for one child that fails.
  async family(_, [name]) {
    const flow = new FlowProducer({ connection });
    const child = { name, queueName, data: {}, opts: { ...forGood, ignoreDependencyOnFailure: false } };
    const tree = await flow.add({ name: 'parent', queueName, children: [child] });
    return [tree.job.id, tree.children[0].job.id];
  },
  async states(queue, ids) {
    const states = [];
    for (const id of ids) states.push(await (await queue.getJob(id))?.getState() ?? 'gone');
    return states;
  },
  counts: (queue) => queue.getJobCounts(),
  pause: (queue) => queue.pause(),
  paused: (queue) => queue.isPaused(),
  workers: async (queue) => (await queue.getWorkers()).length,
  schedule: async (queue) => [(await queue.upsertJobScheduler('hourly', { every: 3600000 })).id],
};

async function work([name]) {
  const worker = new Worker(
    queueName,
    async (job) => {
      await connection.rpush('taken', job.id);
      if (job.name === 'hang') await new Promise(() => {});
      if (job.name === 'fail' && !(await connection.exists('healed'))) throw new Error('no such copy');
    },
    { connection, name, lockDuration: 1000, stalledInterval: 300, maxStalledCount: 5, drainDelay: 120 },
  );
  worker.on('error', () => {});
  await worker.waitUntilReady();
  setInterval(() => {}, 1000);
}

if (command === 'work') {
  work(rest);
} else {
  (async () => {
    const queue = new Queue(queueName, { connection });
    await queue.waitUntilReady();
    console.log(JSON.stringify((await commands[command](queue, rest)) ?? null));
    await queue.close();
    process.exit(0);
  })();
}
