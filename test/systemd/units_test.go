package systemd

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// testUnits has systemd look for mistakes in the units: unknown keys, missing programs and users.
func testUnits(t *testing.T) {
	for _, manager := range []string{"--system", "--user"} {
		cmd := exec.Command("systemd-analyze", manager, "verify", "--man=no", "ipcd.socket", "ipcd.service")
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
		if r := execute(t, cmd); r != (result{}) {
			t.Errorf("systemd-analyze %s verify: %+v", manager, r)
		}
	}
}

// testExposure fails if the service gives up a part of its sandbox.
func testExposure(t *testing.T) {
	const tenths = "10" // 0.5 with systemd 252, and some room for what newer ones ask for
	r := execute(t, exec.Command("systemd-analyze", "security", "--no-pager", "--threshold="+tenths, "ipcd.service"))
	if r.status != 0 {
		t.Errorf("status %d\n%s\n%s", r.status, r.stdout, r.stderr)
	}
	lines := strings.Split(r.stdout, "\n")
	t.Log(lines[len(lines)-1])
}
