// Two servers of socket.io, joined by its Redis adapter: node socket.io.js SOCKET ioredis|MODULE-OF-NODE-REDIS
const { createServer } = require('node:http');
const { Server } = require('socket.io');
const { io: connect } = require('socket.io-client');
const { createAdapter } = require('@socket.io/redis-adapter');
const { check, done, once } = require('./common.js');
const [socket, library] = process.argv.slice(2);

async function client() {
  if (library === 'ioredis') return new (require('ioredis').Redis)({ path: socket });
  const c = require(library).createClient({ socket: { path: socket } });
  c.on('error', (e) => check('no error', e.message, ''));
  await c.connect();
  return c;
}

async function serve() {
  const pub = await client(), sub = await client();
  const http = createServer();
  const io = new Server(http, { adapter: createAdapter(pub, sub, { requestsTimeout: 20000 }) });
  await new Promise((resolve) => http.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${http.address().port}`;
  const user = async (room) => {
    const joined = new Promise((resolve) => io.once('connection', async (s) => { await s.join(room); resolve(s); }));
    const c = connect(url, { transports: ['websocket'], reconnection: false });
    return [c, await joined];
  };
  return { io, user };
}

async function main() {
  const a = await serve(), b = await serve();
  const [ann] = await a.user('blue'), [bob, bobAtB] = await b.user('blue'), [eve] = await b.user('red #1/+');
  // The adapter is ready when it counts the other one.
  while (await a.io.of('/').adapter.serverCount() < 2 || await b.io.of('/').adapter.serverCount() < 2);

  let got = [once(ann, 'news'), once(bob, 'news'), once(eve, 'news')];
  a.io.emit('news', 'to all');
  check('emit', await Promise.all(got), [['to all'], ['to all'], ['to all']]);

  const unheard = [];
  bob.on('secret', (x) => unheard.push(x));
  got = once(eve, 'secret');
  a.io.to('red #1/+').emit('secret', Buffer.from([0xff, 0]));
  check('to a room', await got, [Buffer.from([0xff, 0])]);
  got = once(bob, 'news');
  a.io.to('blue').emit('news', 'later');
  check('to another', await got, ['later']);
  check('nobody else', unheard, []);

  for (const c of [ann, bob, eve]) c.on('ask', (x, answer) => answer(x * 2));
  check('acks', await a.io.timeout(20000).emitWithAck('ask', 21), [42, 42, 42]);

  check('sockets', (await a.io.fetchSockets()).length, 3);
  await a.io.in(bobAtB.id).socketsJoin('green');
  while (!bobAtB.rooms.has('green')) await new Promise(setImmediate);
  const asked = new Promise((resolve) => b.io.on('side', (x, answer) => { answer('from b'); resolve(x); }));
  const answers = await a.io.serverSideEmitWithAck('side', 'from a');
  check('between servers', [await asked, answers], ['from a', ['from b']]);
  done();
  process.exit(0);
}
main();
