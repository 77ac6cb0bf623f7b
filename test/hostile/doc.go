// Package hostile holds what peers may do to a daemon against what they must not be able to: crash it, have it hold
// memory without bound or leak descriptors, or be noticed by others. Each test does its worst to a real process, while a
// bystander goes on asking for PONG. What it costs is printed (go test -v) and bounded, generously: the bounds are there
// to find what grows with the attack, not to measure.
package hostile
