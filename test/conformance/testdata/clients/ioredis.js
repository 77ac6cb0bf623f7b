// ioredis: node ioredis.js SOCKET PROTOCOL [filters]
const { Redis } = require('ioredis');
const { names, check, delivered, done, once } = require('./common.js');
const [socket, protocol, filters] = process.argv.slice(2);

async function main() {
  const options = { path: socket, protocol: Number(protocol), lazyConnect: true };
  const pub = new Redis(options), sub = new Redis(options);
  await Promise.all([pub.connect(), sub.connect()]);
  check('protocol', (await pub.client('INFO')).includes(`resp=${protocol}`) || !filters);
  for (const name of names) {
    check(`subscribe ${name}`, await sub.subscribe(name) > 0);
    const got = once(sub, 'message');
    check(`publish ${name}`, await pub.publish(name, 'héllo') === 1);
    check(`message ${name}`, await got, [name, 'héllo']);
    await sub.unsubscribe(name);
  }
  await sub.psubscribe('socket.io#/#*');
  let got = once(sub, 'pmessage');
  await pub.publish('socket.io#/#room#', 'x');
  check('glob', await got, ['socket.io#/#*', 'socket.io#/#room#', 'x']);
  got = once(sub, 'pmessageBuffer');
  await pub.publish('socket.io#/#', Buffer.from([0xff, 0]));
  check('bytes', (await got)[2], Buffer.from([0xff, 0]));
  if (filters) {
    await sub.psubscribe('ipcd/filter/deploy/#', 'ipcd/filter-json/deploy/+');
    const plain = once(sub, 'pmessage'), json = once(sub, 'pmessage', 1);
    check('to both', delivered(await pub.call('BUS.PUB', 'deploy/web', 'done')), 2);
    check('filter', await plain, ['ipcd/filter/deploy/#', 'deploy/web', 'done']);
    const [pattern, topic, payload] = await json;
    const { pid, payload: inside } = JSON.parse(payload);
    check('envelope', [pattern, topic, pid, inside], ['ipcd/filter-json/deploy/+', 'deploy/web', process.pid, 'done']);
    // What the client does not know is refused, and kills nothing.
    if (protocol === '2') {
      const refused = await pub.call('BUS.SUB', 'a/#').catch((e) => e.message);
      check('BUS.SUB', /PSUBSCRIBE ipcd\/filter\//.test(refused));
    }
    await sub.punsubscribe('ipcd/filter/deploy/#', 'ipcd/filter-json/deploy/+');
    check('none left', delivered(await pub.call('BUS.PUB', 'deploy/web', 'done')), 0);
  }
  await sub.subscribe('after');
  got = once(sub, 'message');
  await pub.publish('after', 'all');
  check('after all', await got, ['after', 'all']);
  pub.disconnect();
  sub.disconnect();
  done();
}
main();
