package systemd

import "strings"

// UnitFromCgroup returns the unit that the processes of a cgroup belong to, or "" if none. The path is that of the
// "0::" line of /proc/PID/cgroup, as in "/system.slice/cron.service".
//
// Slices are no answer: they group units. Below a user's manager (user@1000.service) the answer is that manager's own
// unit, as in "app.service" or "session.scope". Whatever a unit creates below itself is its own affair (and, with
// Delegate=, under its control), so the first unit on the way down is taken.
//
// Units of a user's manager bear whatever names that user chose: see [IsUserUnit] before trusting one.
func UnitFromCgroup(path string) string {
	unit, _ := splitCgroup(path)
	return unit
}

// IsUserUnit reports whether the unit that [UnitFromCgroup] finds in path is run by a user's manager rather than by
// the system's. Its name then proves nothing but that user's choice: anybody may have a backup.service of his own.
func IsUserUnit(path string) bool {
	_, user := splitCgroup(path)
	return user
}

func splitCgroup(path string) (unit string, user bool) {
	// A process may outlive its cgroup for an instant: the kernel then marks the path.
	path = strings.TrimSuffix(path, " (deleted)")
	unit, below := firstUnit(path)
	if strings.HasPrefix(unit, "user@") && strings.HasSuffix(unit, ".service") {
		if own, _ := firstUnit(below); own != "" {
			return own, true
		}
	}
	return unit, false
}

// firstUnit skips the slices at the beginning of path. It returns the name after them, if it is a unit's, and the
// path below it.
func firstUnit(path string) (unit, below string) {
	for path != "" {
		var name string
		name, path, _ = strings.Cut(strings.TrimPrefix(path, "/"), "/")
		// systemd puts "_" before the names that the kernel might take for its own files, as in "_cpu.service",
		// and before those that begin with "_" themselves.
		name = strings.TrimPrefix(name, "_")
		if !validUnit(name) {
			return "", ""
		}
		if !strings.HasSuffix(name, ".slice") {
			return name, path
		}
	}
	return "", ""
}

// unitTypes are those that have processes, thus cgroups.
var unitTypes = [...]string{".service", ".scope", ".slice", ".socket", ".mount", ".swap"}

func validUnit(name string) bool {
	const maxUnitName = 255
	if len(name) > maxUnitName {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case strings.IndexByte(`:-_.\@`, c) >= 0:
		default:
			return false
		}
	}
	for _, suffix := range unitTypes {
		if len(name) > len(suffix) && strings.HasSuffix(name, suffix) {
			return true
		}
	}
	return false
}
