//go:build race

package testdaemon

// Race says that test and daemon are built with the race detector.
const Race = true
