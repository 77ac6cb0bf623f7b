package live

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// TestStoppedSubscriber: of 64 subscribers one is stopped by a signal. All others get everything, in order, and the publisher is told of
// all that it misses; and when it goes on, it is told the same.
func TestStoppedSubscriber(t *testing.T) {
	const others, messages = 63, 1500
	d := testdaemon.Start(t, testdaemon.Config{TOML: "[limits]\ninput = \"64KiB\"\noutput = \"256KiB\"\n"})
	cmd := exec.Command(testdaemon.Program(t, "ipcctl"), "--socket", d.Socket, "sub", "--json", "all/#")
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	publisher := d.Dial(t)
	publisher.Do("HELLO", "3")
	dropped := 0
	publish := func(topic string, payload string) (delivered int) {
		var seq, lost int
		reply := publisher.Do("BUS.PUB", topic, payload)
		if _, err := fmt.Sscanf(strings.ReplaceAll(reply, "\r\n", " "), "%%3 $3 seq :%d $9 delivered :%d $7 dropped :%d", &seq, &delivered, &lost); err != nil {
			t.Fatalf("%q: %v", reply, err)
		}
		dropped += lost
		return delivered
	}
	for publish("all/begin", "") == 0 { // until it is there
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	const batch = 100 // after so many the publisher waits for the others: it is not they who are to be slow
	read := make(chan error, others)
	for range others {
		p := d.Dial(t)
		p.Do("HELLO", "3")
		p.Do("BUS.SUB", "all/#")
		go func() {
			for n := range messages {
				frame, err := p.Next()
				if topic := fmt.Sprint("all/", n); err == nil && !strings.HasPrefix(frame, fmt.Sprintf(">10\r\n$11\r\nbus.message\r\n$5\r\nall/#\r\n$%d\r\n%s\r\n", len(topic), topic)) {
					err = fmt.Errorf("message %d came as %.100q", n, frame)
				}
				if err != nil {
					read <- err
					return
				}
				if n%batch == batch-1 {
					read <- nil
				}
			}
		}()
	}
	payload := strings.Repeat("x", 1000)
	for n := range messages {
		if publish(fmt.Sprint("all/", n), payload); n%batch < batch-1 {
			continue
		}
		for range others {
			if err := <-read; err != nil {
				t.Fatal(err)
			}
		}
	}
	if dropped == 0 {
		t.Error("the one that is stopped misses nothing: this tests nothing")
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	got, lost, last := 0, 0, uint64(0)
	for lines := bufio.NewScanner(out); got+lost < messages && lines.Scan(); {
		var m struct {
			Topic string
			Count uint64
			Lost  int
		}
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			t.Fatal(err)
		}
		switch m.Topic {
		case "all/begin":
			last = m.Count
			continue
		case "":
			lost += m.Lost
			last += uint64(m.Lost)
			continue
		}
		if got++; m.Topic != fmt.Sprint("all/", got+lost-1) || m.Count != last+1 {
			t.Fatalf("%s comes with the number %d behind %d, when %d came and %d are lost", m.Topic, m.Count, last, got-1, lost)
		}
		last = m.Count
	}
	if got+lost != messages || lost != dropped {
		t.Errorf("the one that was stopped gets %d and is told of %d lost, of %d; the publisher of %d", got, lost, messages, dropped)
	}
}
