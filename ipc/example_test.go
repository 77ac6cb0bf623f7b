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

// Work that must not go on without the lock watches Lost.
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

	work, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		<-lock.Lost()
		cancel()
	}()

	client.Close() // or the daemon stops
	<-work.Done()
	fmt.Println("the work is cancelled")
	// Output: the work is cancelled
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
