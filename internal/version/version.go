// Package version knows which build this is.
package version

import "runtime/debug"

// stamp is set by the linker: make passes what git describe says.
var stamp string

// String returns the version of this build: the one that make stamped, else the module's version (as recorded by
// "go install …@v1.2.3"), else "devel".
func String() string {
	if stamp != "" {
		return stamp
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "devel"
}
