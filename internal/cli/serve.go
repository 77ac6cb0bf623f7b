package cli

import (
	"context"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"time"

	"github.com/ipcd/ipcd/internal/cli/exit"
	"github.com/ipcd/ipcd/internal/cli/process"
	"github.com/ipcd/ipcd/internal/cli/verb"
	"github.com/ipcd/ipcd/internal/printable"
	"github.com/ipcd/ipcd/ipc"
)

type serveVerb struct {
	jobs    int
	count   int
	group   string
	headers []string
}

func serve() *verb.Verb {
	var s serveVerb
	return &verb.Verb{
		Name:     "serve",
		Group:    "Messages",
		Summary:  "Answer requests by running CMD for each",
		Synopsis: []string{"[-j N] [-g G] [-n N] [-H NAME=VALUE]… TOPIC -- CMD [ARG…]"},
		About: []string{
			"Runs CMD once for each `request` for TOPIC, which may be a filter as that of `sub`. CMD gets the payload on its standard input, and " +
				"what it prints is the answer. If its status is not 0, the request fails, with the last line of what it printed on standard " +
				"error.",
			"One CMD runs at a time, unless `-j` allows more; other requests wait. Those who serve the same TOPIC with the same `-g` " +
				"share the requests: who has the fewest is asked.",
			"CMD is killed, with all processes of its group, when nobody waits for its answer any more: who asked has gone, or its time is " +
				"over. It gets SIGTERM, and two seconds later SIGKILL; and SIGKILL at once if ipcctl is killed.",
			"What CMD prints is sent as it comes. `request` prints it likewise, without end if there is none, and when it reads more slowly, CMD " +
				"waits. Who wants the answer as a whole gets 8 MiB; if CMD prints more, it is killed and the request fails.",
			"When the daemon ends, CMD is killed, and ipcctl serves the next daemon, which it waits for: see `--wait-daemon`.",
		},
		Options: []verb.Option{
			verb.Number('j', "jobs", "N", &s.jobs, 1, 1024, "Run up to N CMDs at a time instead of one"),
			verb.Text('g', "group", "G", &s.group, "Share the requests with others who serve TOPIC in this group"),
			verb.Number('n', "count", "N", &s.count, 1, verb.Many, "End after N requests"),
			verb.List('H', "header", "NAME=VALUE", &s.headers, "Say this of each answer, as content-type=text/plain; once for each header"),
		},
		Env: serveEnv,
		Examples: []verb.Example{
			{Line: "ipcctl serve sum -- awk '{print $1+$2}'", Help: "Add two numbers for whoever asks."},
			{Line: "ipcctl serve -g workers -j 4 thumbnail -- ./make-thumbnail", Help: "Be one of several who do the work, four at a time."},
		},
		Exits:   []int{exit.Data, exit.NoExec, exit.NoCmd},
		Words:   []string{"TOPIC"},
		Least:   1,
		Most:    1,
		Grammar: verb.WordsCommand,
		Run:     s.run,
	}
}

var serveEnv = []verb.Variable{
	{Name: "IPC_TOPIC", Help: "the topic that was asked for"},
	{Name: "IPC_SEQ", Help: "the number of the request, rising over all"},
	{Name: "IPC_TIME", Help: "when it was asked, as 2026-08-01T09:30:00.000000Z"},
	{Name: "IPC_DEADLINE", Help: "until when who asks waits, in the form of IPC_TIME, or empty"},
	{Name: "IPC_SENDER_PID", Help: "who asks: the process"},
	{Name: "IPC_SENDER_UID", Help: "the user, as a number"},
	{Name: "IPC_SENDER_UNIT", Help: "the systemd unit, or empty"},
	{Name: "IPC_HEADER_NAME", Help: "each of the request's headers: of content-type, IPC_HEADER_CONTENT_TYPE"},
}

// requestEnvironment is what CMD gets to know of a request.
func requestEnvironment(r *ipc.Request) []string {
	deadline := ""
	if !r.Deadline.IsZero() {
		deadline = stamp(r.Deadline)
	}
	return append([]string{
		"IPC_TOPIC=" + r.Topic,
		"IPC_SEQ=" + strconv.FormatUint(r.ID, 10),
		"IPC_TIME=" + stamp(r.Time),
		"IPC_DEADLINE=" + deadline,
		"IPC_SENDER_PID=" + strconv.Itoa(r.PID),
		"IPC_SENDER_UID=" + strconv.Itoa(r.UID),
		"IPC_SENDER_UNIT=" + r.Unit,
	}, headerEnvironment(r.Headers)...)
}

func (s *serveVerb) run(c *verb.Call) error {
	if c.Command == nil {
		return exit.Unparsed("serve", "there is no CMD to run").With(c.Verb.Usage())
	}
	file, err := lookPath(c, c.Command[0])
	if err != nil {
		return err
	}
	headers, err := headerWords(s.headers)
	if err != nil {
		return err
	}
	answer := func(ctx context.Context, r *ipc.Request) ([]byte, error) {
		for i := 0; i < len(headers); i += 3 {
			r.SetHeader(headers[i+1], headers[i+2])
		}
		return nil, process.RunJob(ctx, file, c.Command, process.Environment(requestEnvironment(r)), r.Payload, r.Send)
	}
	return s.serve(c, answer)
}

// serve serves one daemon after the other.
func (s *serveVerb) serve(c *verb.Call, answer ipc.Handler) error {
	var mu sync.Mutex
	left := s.count
	counted := func(ctx context.Context, r *ipc.Request) ([]byte, error) {
		mu.Lock()
		left--
		mu.Unlock()
		return answer(ctx, r)
	}
	var outage verb.Outage
	conn, err := c.Dial() // which waits for a daemon, and says why there is none
	for {
		if err != nil {
			return err
		}
		conn.Close()
		err = s.serveDaemon(c, counted, left)
		switch {
		case err == nil:
			return nil
		case !verb.Stopped(err):
			return exit.Cannot("serve "+printable.Name(c.Words[0]), err)
		}
		if s.count > 0 && left <= 0 {
			return nil
		}
		next, gone := outage.Redial(c, time.Time{}, err)
		if gone != nil {
			return exit.Cannot("serve "+printable.Name(c.Words[0]), gone)
		}
		conn = next
		err = nil
	}
}

// serveDaemon serves a daemon that is there, so many times unless that is 0. If a signal comes meanwhile, it does not return: each CMD gets
// SIGTERM, and when they have ended, ipcctl dies of it. At other times no CMD runs, and a signal ends ipcctl at once.
func (s *serveVerb) serveDaemon(c *verb.Call, answer ipc.Handler, count int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	signals := make(chan os.Signal, 1)
	process.Catch(signals, process.Leaving)
	var left os.Signal
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if left = <-signals; left != nil {
			cancel()
		}
	}()
	client, err := ipc.Dial(ctx, c.Address)
	if err == nil {
		options := []ipc.ServeOption{ipc.Jobs(max(s.jobs, 1))}
		if s.group != "" {
			options = append(options, ipc.Group(s.group))
		}
		if count > 0 {
			options = append(options, ipc.Count(count))
		}
		err = client.Serve(ctx, c.Words[0], answer, options...)
		client.Close()
	}
	signal.Stop(signals)
	close(signals) // what has come is in it
	<-watched
	if left != nil {
		process.Die(left)
	}
	return err
}
