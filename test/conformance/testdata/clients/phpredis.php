<?php
// phpredis: php phpredis.php SOCKET [filters]
ini_set('default_socket_timeout', '20');
$socket = $argv[1];
$filters = isset($argv[2]);
const NAMES = ['a/b', 'socket.io#/#', '+', 'a/#', '', "\x00", "a\r\nb", "\xff\xfe"];

function check($what, $got, $want = true) {
    if ($got !== $want) {
        echo "$what: got ", var_export($got, true), ', want ', var_export($want, true), "\n";
        exit(1);
    }
}

// connect makes a connection.
function connect() {
    global $socket;
    $r = new Redis();
    $r->connect($socket);
    return $r;
}

// receive subscribes, sends, and gives what comes, as many messages as there are to be. A child sends, for subscribe does not
// return before the connection ends, and does not tell that it has subscribed: the child waits until the daemon says so.
function receive($how, $names, $send, $count) {
    if (($pid = pcntl_fork()) === 0) {
        $r = connect();
        while (($how === 'subscribe' ? current($r->pubsub('numsub', $names)) : $r->pubsub('numpat')) < ($how === 'subscribe' ? 1 : count($names)));
        $send($r);
        posix_kill(getmypid(), SIGKILL); // without what ends the parent's connections, too
    }
    $got = [];
    $r = connect();
    try {
        $r->$how($names, function ($r, ...$message) use (&$got, $count) {
            $got[] = $message;
            if (count($got) === $count) {
                $r->close();
            }
        });
    } catch (RedisException $e) {
        check('it ends by that', $e->getMessage(), 'Connection closed');
    }
    pcntl_waitpid($pid, $status);
    return $got;
}

check('ping', connect()->ping(), true);
foreach (NAMES as $name) {
    $got = receive('subscribe', [$name], fn($r) => $r->publish($name, 'héllo'), 1);
    check('message', $got, [[$name, 'héllo']]);
}
$patterns = ['socket.io#/#*'];
if ($filters) {
    array_push($patterns, 'ipcd/filter/deploy/#', 'ipcd/filter-json/deploy/+');
}
$got = receive('psubscribe', $patterns, function ($r) use ($filters) {
    $r->publish('socket.io#/#room#', 'x');
    if ($filters) {
        $r->rawCommand('BUS.PUB', 'deploy/web', 'done');
    }
}, count($patterns));
check('glob', $got[0], ['socket.io#/#*', 'socket.io#/#room#', 'x']);
if ($filters) {
    check('filter', $got[1], ['ipcd/filter/deploy/#', 'deploy/web', 'done']);
    [$pattern, $topic, $message] = $got[2];
    $envelope = json_decode($message, true);
    check('envelope', [$pattern, $topic, $envelope['payload']], ['ipcd/filter-json/deploy/+', 'deploy/web', 'done']);
    $r = connect();
    check('BUS.SUB', $r->rawCommand('BUS.SUB', 'a/#'), false);
    check('it says what to do', strpos($r->getLastError(), 'PSUBSCRIBE ipcd/filter/') !== false);
}
echo "all is as it should be\n";
