package script

import (
	"os/exec"
	"testing"

	"github.com/ipcd/ipcd/test/testdaemon"
)

// A channel that is no topic is not offered where ipcctl wants one.
func TestCompletionOffersTopics(t *testing.T) {
	d := testdaemon.Start(t, testdaemon.Config{Env: []string{"GORACE=" + gorace}})
	t.Setenv("IPCD_SOCKET", d.Socket)
	t.Setenv("GORACE", gorace)
	p := d.Dial(t)
	for _, name := range []string{"chan/nel", "chan#/#", "chan+", "", "chan\nnel", "chan\x1b[2J", "chan\xff"} {
		p.Do("SUBSCRIBE", name)
	}
	for _, words := range [][]string{{"pub", "ch"}, {"pub", ""}, {"sub", "ch"}} {
		out, err := exec.Command("ipcctl", append([]string{"__complete", "--"}, words...)...).Output()
		if err != nil || string(out) != "chan/nel\t\n" {
			t.Errorf("%q: %q, %v", words, out, err)
		}
	}
}
