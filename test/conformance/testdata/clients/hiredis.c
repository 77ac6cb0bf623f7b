// hiredis: hiredis SOCKET [filters]. Its synchronous interface leaves messages to the program; the asynchronous one finds the
// callback of a message by the pattern that it came by.
#include <hiredis/async.h>
#include <hiredis/hiredis.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fail(const char *what, const char *why) {
	printf("%s: %s\n", what, why);
	exit(1);
}

// same fails unless a reply is an array of such strings; NULL: whatever is there.
static void same(const char *what, redisReply *r, size_t n, const char **want) {
	if (r == NULL || r->type != REDIS_REPLY_ARRAY || r->elements != n)
		fail(what, "no array, or of another length");
	for (size_t i = 0; i < n; i++)
		if (want[i] != NULL && (r->element[i]->str == NULL || strcmp(r->element[i]->str, want[i]) != 0))
			fail(what, r->element[i]->str ? r->element[i]->str : "no string");
}

static redisContext *dial(const char *path) {
	redisContext *c = redisConnectUnix(path);
	if (c == NULL || c->err)
		fail("connect", c ? c->errstr : "no memory");
	return c;
}

static void synchronous(const char *path) {
	static const char *names[] = {"a/b", "socket.io#/#", "+", "a/#", "", "a\r\nb", "\xff\xfe"};
	redisContext *pub = dial(path), *sub = dial(path);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		redisReply *r = redisCommand(sub, "SUBSCRIBE %s", names[i]);
		same("SUBSCRIBE", r, 3, (const char *[]){"subscribe", names[i], NULL});
		freeReplyObject(r);
		r = redisCommand(pub, "PUBLISH %s %b", names[i], "h\0i", (size_t)3);
		if (r == NULL || r->integer != 1)
			fail("PUBLISH", names[i]);
		freeReplyObject(r);
		if (redisGetReply(sub, (void **)&r) != REDIS_OK)
			fail("message", sub->errstr);
		same("message", r, 3, (const char *[]){"message", names[i], "h"});
		if (r->element[2]->len != 3)
			fail("message", "it is cut");
		freeReplyObject(r);
		r = redisCommand(sub, "UNSUBSCRIBE %s", names[i]);
		same("UNSUBSCRIBE", r, 3, (const char *[]){"unsubscribe", names[i], NULL});
		freeReplyObject(r);
	}
	redisReply *r = redisCommand(pub, "PING");
	if (r == NULL || strcmp(r->str, "PONG") != 0)
		fail("PING", "no PONG");
	freeReplyObject(r);
	redisFree(pub);
	redisFree(sub);
}

// What the asynchronous interface wants of an event loop.
static int wants_read, wants_write;
static void add_read(void *x) { (void)x; wants_read = 1; }
static void del_read(void *x) { (void)x; wants_read = 0; }
static void add_write(void *x) { (void)x; wants_write = 1; }
static void del_write(void *x) { (void)x; wants_write = 0; }
static void cleanup(void *x) { (void)x; wants_read = wants_write = 0; }

static redisContext *publisher;
static int due; // what is still to come

// received is a callback; its data is the pattern that it was given for.
static void received(redisAsyncContext *c, void *reply, void *pattern) {
	redisReply *r = reply;
	(void)c;
	if (r == NULL && due == 0)
		return; // the end
	if (r == NULL || r->elements < 3 || strcmp(r->element[1]->str, pattern) != 0)
		fail("callback", "of another pattern");
	if (strcmp(r->element[0]->str, "psubscribe") == 0) {
		if (--due > 0)
			return;
		due = r->element[2]->integer;
		freeReplyObject(redisCommand(publisher, "PUBLISH socket.io#/#room# done"));
		if (due > 1)
			freeReplyObject(redisCommand(publisher, "BUS.PUB deploy/web done"));
		return;
	}
	const char *topic = strncmp(pattern, "ipcd/", 5) == 0 ? "deploy/web" : "socket.io#/#room#";
	const char *payload = strncmp(pattern, "ipcd/filter-json/", 17) == 0 ? NULL : "done";
	same("pmessage", r, 4, (const char *[]){"pmessage", pattern, topic, payload});
	if (payload == NULL && strstr(r->element[3]->str, "\"payload\":\"done\"}") == NULL)
		fail("envelope", r->element[3]->str);
	due--;
}

static void asynchronous(const char *path, int filters) {
	static char *patterns[] = {"socket.io#/#*", "ipcd/filter/deploy/#", "ipcd/filter-json/deploy/+"};
	redisAsyncContext *c = redisAsyncConnectUnix(path);
	if (c == NULL || c->err)
		fail("connect", c ? c->errstr : "no memory");
	publisher = dial(path);
	c->ev.addRead = add_read;
	c->ev.delRead = del_read;
	c->ev.addWrite = add_write;
	c->ev.delWrite = del_write;
	c->ev.cleanup = cleanup;
	c->ev.data = c;
	add_write(NULL);
	due = filters ? 3 : 1;
	for (int i = 0; i < (filters ? 3 : 1); i++)
		redisAsyncCommand(c, received, patterns[i], "PSUBSCRIBE %s", patterns[i]);
	while (due > 0) {
		struct pollfd p = {.fd = c->c.fd, .events = (wants_read ? POLLIN : 0) | (wants_write ? POLLOUT : 0)};
		if (poll(&p, 1, 20000) <= 0)
			fail("poll", "nothing comes");
		if (p.revents & POLLOUT)
			redisAsyncHandleWrite(c);
		if (p.revents & (POLLIN | POLLHUP))
			redisAsyncHandleRead(c);
	}
	redisAsyncFree(c);
	redisFree(publisher);
}

int main(int argc, char **argv) {
	synchronous(argv[1]);
	asynchronous(argv[1], argc > 2);
	puts("all is as it should be");
	return 0;
}
