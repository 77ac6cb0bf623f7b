// What the scripts of node's clients have in common.
const { isDeepStrictEqual, inspect } = require('node:util');

// Channels that are anything but topics, and one that is one.
exports.names = ['a/b', 'socket.io#/#', '+', 'a/#', '', '\x00', 'a\r\nb', 'é', 'x'.repeat(1000)];

exports.check = (what, got, want = true) => {
  if (!isDeepStrictEqual(got, want)) {
    console.log(`${what}: got ${inspect(got)}, want ${inspect(want)}`);
    process.exit(1);
  }
};

// once waits for an event; skip: not for the next, but for one that comes so many later.
exports.once = (emitter, event, skip = 0) => new Promise((resolve) => {
  const listener = (...args) => {
    if (skip-- > 0) return;
    emitter.off(event, listener);
    resolve(args);
  };
  emitter.on(event, listener);
});

// delivered is what BUS.PUB says of that: in a map, or in the array that one is on RESP2.
exports.delivered = (reply) => {
  if (!Array.isArray(reply)) return reply instanceof Map ? reply.get('delivered') : reply.delivered;
  return reply[reply.indexOf('delivered') + 1];
};

exports.done = () => console.log('all is as it should be');

process.on('unhandledRejection', (e) => {
  console.log(e);
  process.exit(1);
});
