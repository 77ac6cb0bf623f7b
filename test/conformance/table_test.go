package conformance

import (
	"strings"
	"testing"

	"github.com/ipcd/ipcd/ipc/wire"
)

// docs/redis.md has every command that a redis-server lists, with the same arity, and no other.
func TestRedisTable(t *testing.T) {
	c := newGoRedis(t, startRedis(t), 3)
	ctx := patient(t)
	info, err := c.Info(ctx, "server").Result()
	if err != nil {
		t.Fatal(err)
	}
	series, _, _ := strings.Cut(wire.RedisVersion, ".0.")
	followed := strings.Contains(info, "redis_version:"+series+".0.")
	list, err := c.Do(ctx, "COMMAND").Slice()
	if err != nil {
		t.Fatal(err)
	}
	absent := map[string]bool{}
	for _, group := range wire.NotHere {
		for name := range strings.FieldsSeq(group.Names) {
			if absent[name] {
				t.Errorf("%s is not here for two reasons", name)
			}
			absent[name] = true
		}
	}
	known := map[string]bool{}
	var check func(of any)
	check = func(of any) {
		info := of.([]any)
		name, arity := info[0].(string), info[1].(int64)
		known[name] = true
		subs := info[9].([]any)
		row, here := wire.FindCommand(strings.ReplaceAll(name, "|", " "))
		switch {
		case here && absent[name]:
			t.Errorf("%s is here and not here", name)
		case here && int64(row.Arity()) != arity:
			t.Errorf("%s has arity %d, here %d", name, arity, row.Arity())
		case !here && !absent[name] && followed && !container(name):
			t.Errorf("%s is not in the table", name)
		}
		for _, sub := range subs {
			check(sub)
		}
	}
	for _, of := range list {
		check(of)
	}
	for name := range absent {
		if !known[name] && followed {
			t.Errorf("Redis has no %s", name)
		}
	}
	for i := range wire.Commands {
		row := &wire.Commands[i]
		if name := strings.ReplaceAll(strings.ToLower(row.Name), " ", "|"); row.Family == wire.FamilyRedis && !known[name] && !strings.HasPrefix(row.Note, "of Redis 7.2") {
			t.Errorf("Redis has no %s", name)
		}
	}
}

// container reports whether there are subcommands of a command here.
func container(name string) bool {
	for i := range wire.Commands {
		if strings.HasPrefix(wire.Commands[i].Name, strings.ToUpper(name)+" ") {
			return true
		}
	}
	return false
}
