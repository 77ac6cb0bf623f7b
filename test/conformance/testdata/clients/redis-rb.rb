# redis-rb: ruby redis-rb.rb SOCKET [filters]
require 'json'
require 'redis'

socket, filters = ARGV
NAMES = ['a/b', 'socket.io#/#', '+', 'a/#', '', "\x00", "a\r\nb", 'é', 'x' * 1000].freeze

def check(what, got, want = true)
  abort "#{what}: got #{got.inspect}, want #{want.inspect}" unless got == want
end

pub = Redis.new(path: socket)
sub = Redis.new(path: socket)
check('ping', pub.ping, 'PONG')
NAMES.each do |name|
  sub.subscribe(name) do |on|
    on.subscribe { |_, count| check('confirmed', [count, pub.publish(name, 'héllo')], [1, 1]) }
    on.message do |channel, message|
      check('message', [channel.b, message.b], [name.b, 'héllo'.b])
      sub.unsubscribe(name)
    end
  end
end

patterns = ['socket.io#/#*']
patterns += ['ipcd/filter/deploy/#', 'ipcd/filter-json/deploy/+'] if filters
got = []
sub.psubscribe(*patterns) do |on|
  on.psubscribe do |_, count|
    next unless count == patterns.size

    pub.publish('socket.io#/#room#', 'x')
    pub.call('BUS.PUB', 'deploy/web', 'done') if filters
  end
  on.pmessage do |pattern, channel, message|
    got << [pattern, channel, message]
    sub.punsubscribe if got.size == patterns.size
  end
end
check('glob', got.shift, ['socket.io#/#*', 'socket.io#/#room#', 'x'])
if filters
  check('filter', got.shift, ['ipcd/filter/deploy/#', 'deploy/web', 'done'])
  pattern, topic, message = got.shift
  envelope = JSON.parse(message)
  check('envelope', [pattern, topic, envelope['pid'], envelope['payload']], ['ipcd/filter-json/deploy/+', 'deploy/web', Process.pid, 'done'])
  begin
    pub.call('BUS.SUB', 'a/#')
    abort 'BUS.SUB is not refused'
  rescue Redis::CommandError => e
    check('it says what to do', e.message.include?('PSUBSCRIBE ipcd/filter/'))
  end
end
check('after all', sub.ping, 'PONG')
puts 'all is as it should be'
