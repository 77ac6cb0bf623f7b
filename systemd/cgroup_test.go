package systemd_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ipcd/ipcd/systemd"
)

func TestUnitFromCgroup(t *testing.T) {
	const user1000 = "/user.slice/user-1000.slice/user@1000.service"
	tests := []struct {
		path string
		unit string
		user bool
	}{
		// The system's manager.
		{"/system.slice/cron.service", "cron.service", false},
		{"/init.scope", "init.scope", false},
		{"/cron.service", "cron.service", false},
		{"/system.slice/system-getty.slice/getty@tty1.service", "getty@tty1.service", false},
		{"/system.slice/run-u42.service", "run-u42.service", false},
		{"/system.slice/run-r5d1b0f1e2c.scope", "run-r5d1b0f1e2c.scope", false},
		{"/system.slice/docker-8f1c.scope", "docker-8f1c.scope", false},
		{"/system.slice/apt-daily.socket", "apt-daily.socket", false},
		{"/system.slice/mnt-disk.mount", "mnt-disk.mount", false},
		{`/system.slice/systemd-fsck@dev-disk-by\x2duuid-1.service`, `systemd-fsck@dev-disk-by\x2duuid-1.service`, false},
		{"/user.slice/user-1000.slice/session-3.scope", "session-3.scope", false},

		// A user's manager and what it runs.
		{user1000, "user@1000.service", false},
		{user1000 + "/init.scope", "init.scope", true},
		{user1000 + "/app.slice/foo.service", "foo.service", true},
		{user1000 + "/app.slice/app-gnome.slice/app-gnome-firefox-12.scope", "app-gnome-firefox-12.scope", true},
		{user1000 + "/background.slice", "user@1000.service", false},

		// Slices alone.
		{"/", "", false},
		{"", "", false},
		{"/system.slice", "", false},
		{"/user.slice/user-1000.slice", "", false},

		// Below a unit: delegated, a container's payload, a forgery.
		{"/system.slice/containerd.service/kubepods/pod1", "containerd.service", false},
		{"/machine.slice/systemd-nspawn@web.service/payload/system.slice/cron.service", "systemd-nspawn@web.service", false},
		{"/system.slice/evil.service/backup.service", "evil.service", false},
		{"/system.slice/evil.service/user@0.service/backup.service", "evil.service", false},
		{"/user.slice/user-1000.slice/session-3.scope/backup.service", "session-3.scope", false},

		// Escapes.
		{"/system.slice/_cpu.service", "cpu.service", false},
		{"/system.slice/__x.service", "_x.service", false},
		{"/_cpu.slice/x.service", "x.service", false},
		{user1000 + "/_app.slice/_memory.service", "memory.service", true},

		// Not made by systemd.
		{"/docker/8f1c", "", false},
		{"/docker/x.service", "", false},
		{"/../../system.slice/cron.service", "", false},
		{"/system.slice/.service", "", false},
		{"/system.slice/spaced out.service", "", false},
		{"/system.slice/" + strings.Repeat("x", 250) + ".service", "", false},
		{"/system.slice/a.timer", "", false},

		// The unit has just been removed.
		{"/system.slice/cron.service (deleted)", "cron.service", false},
	}
	for _, tt := range tests {
		if got := systemd.UnitFromCgroup(tt.path); got != tt.unit {
			t.Errorf("UnitFromCgroup(%q) = %q, want %q", tt.path, got, tt.unit)
		}
		if got := systemd.IsUserUnit(tt.path); got != tt.user {
			t.Errorf("IsUserUnit(%q) = %v, want %v", tt.path, got, tt.user)
		}
	}
}

func ExampleUnitFromCgroup() {
	fmt.Println(systemd.UnitFromCgroup("/system.slice/system-backup.slice/backup@home.service"))
	fmt.Println(systemd.UnitFromCgroup("/user.slice/user-1000.slice/user@1000.service/app.slice/mail.service"))
	fmt.Printf("%q\n", systemd.UnitFromCgroup("/system.slice"))
	// Output:
	// backup@home.service
	// mail.service
	// ""
}

func BenchmarkUnitFromCgroup(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		systemd.UnitFromCgroup("/user.slice/user-1000.slice/user@1000.service/app.slice/foo.service")
	}
}
