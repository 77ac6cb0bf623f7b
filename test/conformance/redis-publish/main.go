// Command redis-publish is a Redis client as one finds it: it publishes messages with go-redis, and knows nothing of ipcd
// but the path of its socket, in IPCD_SOCKET. The demo uses it.
package main

import (
	"context"
	"fmt"
	"os"
	"time"

	"github.com/redis/go-redis/v9"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: redis-publish CHANNEL MESSAGE…")
		os.Exit(64)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	client := redis.NewClient(&redis.Options{Network: "unix", Addr: os.Getenv("IPCD_SOCKET")})
	defer func() { _ = client.Close() }()
	for _, message := range os.Args[2:] {
		n, err := client.Publish(ctx, os.Args[1], message).Result()
		if err != nil {
			fmt.Fprintln(os.Stderr, "redis-publish:", err)
			os.Exit(1)
		}
		fmt.Printf("published, %d received it\n", n)
	}
}
