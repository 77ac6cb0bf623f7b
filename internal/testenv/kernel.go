package testenv

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func kernelVersion() (major, minor int, err error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return 0, 0, err
	}
	return parseRelease(unix.ByteSliceToString(name.Release[:]))
}

// parseRelease reads the beginning of a kernel release such as "6.18.44-amd64".
func parseRelease(release string) (major, minor int, err error) {
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return 0, 0, fmt.Errorf("cannot read the kernel release %q: %v", release, err)
	}
	return major, minor, nil
}
