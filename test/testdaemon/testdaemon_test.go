package testdaemon_test

import (
	"testing"

	"github.com/ipcd/ipcd/test/testdaemon"
)

func TestStart(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{TOML: "[limits]\nconnections = 5\n"})
	p := d.Dial(t)
	if got := p.Do("PING"); got != "+PONG\r\n" {
		t.Errorf("PING: got %q", got)
	}
	rss, peak := d.RSS()
	if rss <= 0 || peak < rss || d.Descriptors() < 5 || d.CPU() <= 0 {
		t.Errorf("implausible: %d bytes, peak %d, %d descriptors, %v", rss, peak, d.Descriptors(), d.CPU())
	}
	d.Stop()
	p.WantEnd()
}
