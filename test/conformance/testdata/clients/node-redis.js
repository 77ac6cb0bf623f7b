// node-redis: node node-redis.js SOCKET PROTOCOL MODULE [filters]
const { names, check, delivered, done } = require('./common.js');
const [socket, protocol, module_, filters] = process.argv.slice(2);
const { createClient } = require(module_);

async function main() {
  const options = { socket: { path: socket }, RESP: Number(protocol) };
  const pub = createClient(options), sub = createClient(options);
  for (const c of [pub, sub]) c.on('error', (e) => check('no error', e.message, ''));
  await Promise.all([pub.connect(), sub.connect()]);
  // next subscribes, and gives the next message.
  const next = async (how, name, buffers) => {
    let got;
    const message = new Promise((resolve) => { got = (...args) => resolve(args); });
    await sub[how](name, got, buffers);
    return [message, got];
  };
  for (const name of names) {
    const [got, listener] = await next('subscribe', name);
    check(`publish ${name}`, await pub.publish(name, 'héllo'), 1);
    check(`message ${name}`, await got, ['héllo', name]);
    await sub.unsubscribe(name, listener);
  }
  let [got] = await next('pSubscribe', 'socket.io#/#*');
  await pub.publish('socket.io#/#room#', 'x');
  check('glob', await got, ['x', 'socket.io#/#room#']);
  [got] = await next('pSubscribe', 'bytes*', true);
  await pub.publish('bytes', Buffer.from([0xff, 0]));
  check('bytes', (await got)[0], Buffer.from([0xff, 0]));
  if (filters) {
    const [plain] = await next('pSubscribe', 'ipcd/filter/deploy/#');
    const [json] = await next('pSubscribe', 'ipcd/filter-json/deploy/+');
    check('to both', delivered(await pub.sendCommand(['BUS.PUB', 'deploy/web', 'done'])), 2);
    check('filter', await plain, ['done', 'deploy/web']);
    const [payload, topic] = await json;
    const { pid, payload: inside } = JSON.parse(payload);
    check('envelope', [topic, pid, inside], ['deploy/web', process.pid, 'done']);
    if (protocol === '2') {
      const refused = await pub.sendCommand(['BUS.SUB', 'a/#']).catch((e) => e.message);
      check('BUS.SUB', /PSUBSCRIBE ipcd\/filter\//.test(refused));
    }
    await sub.pUnsubscribe();
    check('none left', delivered(await pub.sendCommand(['BUS.PUB', 'deploy/web', 'done'])), 0);
  }
  [got] = await next('subscribe', 'after');
  await pub.publish('after', 'all');
  check('after all', await got, ['all', 'after']);
  for (const c of [pub, sub]) await (c.destroy ? c.destroy() : c.disconnect());
  done();
}
main();
