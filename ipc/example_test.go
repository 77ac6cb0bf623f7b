package ipc_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ipcd/ipcd/ipc"
)

func Example() {
	ctx := context.Background()
	client, err := ipc.Dial(ctx, "") // the system's daemon, or $IPCD_SOCKET
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	deploys, err := client.Subscribe(ctx, "deploy/#")
	if err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := client.Publish(ctx, "deploy/done", []byte("web 1.4"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("delivered to", receipt.Delivered)

	message, err := deploys.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s: %s\n", message.Topic, message.Payload)
	// Output:
	// delivered to 1
	// deploy/done: web 1.4
}

func ExampleClient_Lock() {
	ctx := context.Background()
	client, err := ipc.Dial(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	lock, err := client.Lock(ctx, "backup", ipc.Why("weekly prune"), ipc.Wait(time.Minute))
	if errors.Is(err, ipc.ErrTimeout) {
		fmt.Println("somebody else has been at it for a minute")
		return
	}
	if err != nil {
		fmt.Println(err)
		return
	}
	if lock.Abandoned != "" {
		fmt.Println("the one before died at it:", lock.Abandoned)
	}
	fmt.Println("have", lock.Name)

	// Another goroutine would have to wait, like another program.
	if _, err := client.TryLock(ctx, "backup"); errors.Is(err, ipc.ErrBusy) {
		fmt.Println("busy")
	}
	if err := lock.Unlock(ctx); err != nil {
		fmt.Println(err)
		return
	}
	// Output:
	// have backup
	// busy
}

// Work that must not go on without the lock is given its context.
func ExampleLock_Context() {
	ctx := context.Background()
	client, err := ipc.Dial(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	lock, err := client.Lock(ctx, "report")
	if err != nil {
		fmt.Println(err)
		return
	}
	work := lock.Context(ctx)

	if _, err := client.Break(ctx, "report", "in the way"); err != nil { // as an operator might
		fmt.Println(err)
		return
	}
	<-work.Done()
	var lost *ipc.LostError
	if errors.As(context.Cause(work), &lost) {
		fmt.Println("the work is cancelled: lock", lost.How)
	}
	// Output: the work is cancelled: lock broken
}

// A loop that works in steps looks at Lost before each.
func ExampleLock_Lost() {
	ctx := context.Background()
	client, err := ipc.Dial(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	lock, err := client.Lock(ctx, "report")
	if err != nil {
		fmt.Println(err)
		return
	}
	client.Close() // or the daemon stops

	select {
	case <-lock.Lost():
		fmt.Println("lost:", lock.Err())
	default:
		fmt.Println("at work")
	}
	// Output: lost: connection to ipcd ended
}

// A lease ends with a program that hangs. One that does not hang renews it.
func ExampleLock_KeepAlive() {
	ctx := context.Background()
	client, err := ipc.Dial(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	lock, err := client.Lock(ctx, "disk", ipc.Lease(time.Minute))
	if err != nil {
		fmt.Println(err)
		return
	}
	ended := make(chan error)
	go func() { ended <- lock.KeepAlive(ctx) }()

	if err := lock.Unlock(ctx); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(<-ended)
	// Output: <nil>
}

// A hold that is bound to the process goes on when the connection has ended.
func ExampleLock_Attach() {
	ctx := context.Background()
	first, err := ipc.Dial(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	lock, err := first.Lock(ctx, "spool", ipc.ForProcess())
	if err != nil {
		fmt.Println(err)
		return
	}
	first.Close() // or the daemon is restarted

	second, err := ipc.Dial(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer second.Close()
	if err := lock.Attach(ctx, second); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(lock.Unlock(ctx))
	// Output: <nil>
}

func ExampleSubscription_Messages() {
	ctx := context.Background()
	client, err := ipc.Dial(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	jobs, err := client.Subscribe(ctx, "jobs/+")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, job := range []string{"jobs/mail", "jobs/print", "jobs/end"} {
		if _, err := client.Publish(ctx, job, nil); err != nil {
			fmt.Println(err)
			return
		}
	}

	for message, err := range jobs.Messages(ctx) {
		if err != nil {
			fmt.Println(err)
			return
		}
		if message.Lost > 0 {
			fmt.Println("missed", message.Lost)
		}
		fmt.Println(message.Topic)
		if message.Topic == "jobs/end" {
			jobs.Close()
		}
	}
	// Output:
	// jobs/mail
	// jobs/print
	// jobs/end
}

func ExampleClient_Do() {
	ctx := context.Background()
	client, err := ipc.Dial(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	reply, err := client.Do(ctx, "LOCK.INFO", "nobody-has-it")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reply.Get("used").Int, "of", reply.Get("limit").Int)

	_, err = client.Do(ctx, "LOCK.RELEASE", "nobody-has-it")
	fmt.Println(errors.Is(err, ipc.ErrNoLock))
	// Output:
	// 0 of 1
	// true
}

// A short program does one thing after another and needs no goroutine.
func ExampleConn() {
	conn, err := ipc.DialConn(context.Background(), "")
	if err != nil {
		var dial *ipc.DialError
		if errors.As(err, &dial) && dial.Hint() != "" {
			fmt.Println("hint:", dial.Hint())
		}
		fmt.Println(err)
		return
	}
	defer conn.Close()

	reply, err := conn.Do("PING")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(reply.Text())

	// Several commands in one write.
	for _, topic := range []string{"a", "b", "c"} {
		conn.Buffer("PUBLISH", topic, "hi")
	}
	if err := conn.Flush(); err != nil {
		fmt.Println(err)
		return
	}
	for range 3 {
		reply, err := conn.Reply()
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("delivered to", reply.Int)
	}
	// Output:
	// PONG
	// delivered to 0
	// delivered to 0
	// delivered to 0
}

// A program that lives long goes on when the daemon was restarted, and is told what it may have missed.
func ExampleLink() {
	ctx := context.Background()
	link, err := ipc.DialLink(ctx, "")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer link.Close()
	lock, err := link.Lock(ctx, "mailer", ipc.Why("the one that sends"))
	if err != nil {
		fmt.Println(err)
		return
	}
	mails, err := link.Subscribe(ctx, "mail/#")
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := link.Client(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	if _, err := client.Publish(ctx, "mail/new", nil); err != nil {
		fmt.Println(err)
		return
	}

	for message, err := range mails.Messages(lock.Context(ctx)) {
		var gap *ipc.GapError
		if errors.As(err, &gap) {
			fmt.Println("look into the spool again:", gap)
			continue
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println(message.Topic)
		break
	}
	if err := lock.Unlock(ctx); err != nil {
		fmt.Println(err)
	}
	// Output: mail/new
}
