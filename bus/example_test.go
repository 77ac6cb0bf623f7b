package bus_test

import (
	"fmt"
	"os"

	"github.com/ipcd/ipcd/bus"
)

func Example() {
	b := bus.New[string]()
	for _, sub := range []struct {
		who  string
		kind bus.Kind
		text string
	}{
		{"web", bus.Filter, "deploy/#"},
		{"log", bus.Pattern, "*"},
		{"cron", bus.Channel, "deploy/done"},
		{"db", bus.Filter, "deploy/#"},
	} {
		if _, _, err := b.Subscribe(sub.who, sub.kind, sub.text); err != nil {
			fmt.Println(err)
			return
		}
	}

	seq, routes, err := b.Publish([]byte("deploy/done"))
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, r := range routes {
		for _, who := range r.Subs() {
			fmt.Printf("message %d for %s by %s %s\n", seq, who, r.Kind, r.Text)
		}
	}

	b.Drop("web")
	if err := b.Dump(os.Stdout); err != nil {
		fmt.Println(err)
	}
	// Output:
	// message 1 for cron by channel deploy/done
	// message 1 for log by pattern *
	// message 1 for web by filter deploy/#
	// message 1 for db by filter deploy/#
	// seq 1
	// channel "deploy/done" slot 2: cron
	// pattern "*" slot 1: log
	// filter "deploy/#" slot 0: db
}

func ExampleCheckTopic() {
	fmt.Println(bus.CheckTopic("deploy/done"))
	fmt.Println(bus.CheckTopic("a/+"))
	fmt.Println(bus.CheckName("lock name", "", 200))
	// Output:
	// <nil>
	// bad topic "a/+": wildcard "+" at byte 2 stands only in a filter
	// bad lock name "": it is empty
}

func ExampleMatch() {
	fmt.Println(bus.Match("deploy/#", "deploy"))
	fmt.Println(bus.Match("deploy/+/done", "deploy/web/done"))
	fmt.Println(bus.Match("#", "ipcd/lock/acquired/backup"))
	// Output:
	// true
	// true
	// false
}

func ExampleGlob() {
	fmt.Println(bus.CompileGlob("h[ae]llo*").MatchString("hello/world"))
	fmt.Println(bus.CompileGlob("news.*").MatchString("news"))
	// Output:
	// true
	// false
}
