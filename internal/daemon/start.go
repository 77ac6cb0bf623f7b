package daemon

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ipcd/ipcd/internal/config"
)

// A source says where the settings in force come from.
type source string

const (
	fromFiles    source = "files"     // as they were when they were read
	fromLastGood source = "last-good" // the files are wrong; these were in force before
	fromBuiltIn  source = "built-in"  // the files are wrong, or there are none
)

func sourceOf(cfg *config.Config) source {
	if len(cfg.Files) == 0 {
		return fromBuiltIn
	}
	return fromFiles
}

// errNoSettings says that it would not be safe to start with any settings that there are.
var errNoSettings = errors.New("cannot start: the configuration is wrong, and nothing else says where to listen")

// configure decides about the settings to start with. A mistake in the files must not take away what others rely on: the last
// good configuration is in force then, else the built-in settings, until the files are right.
//
// It does not start with built-in settings that would decide which socket to make. Where the clients of this daemon look for it
// is not known, and the built-in path may be another daemon's: locks of one name in two daemons exclude nobody.
func (d *daemon) configure(cfg *config.Config, rejected error, activated bool) (err error) {
	d.lastGood, err = openLastGood(d.mark, &d.work, func(err error) {
		d.log.Warn("cannot keep the configuration: if the files are wrong at the next start, an older one is taken", "event", "state-failed", "error", err)
	})
	if err != nil {
		d.log.Error("cannot read the last good configuration", "event", "state-failed", "error", err)
	}
	if rejected == nil {
		d.enforce(cfg, sourceOf(cfg), nil)
		return nil
	}
	d.logRejection("config-rejected", "start", rejected)
	cfg, err = d.lastGood.config()
	if err != nil {
		d.log.Error("cannot use the last good configuration: this ipcd is of another version, perhaps", "event", "config-rejected", "error", inOneLine(err))
	}
	switch {
	case cfg != nil:
		d.enforce(d.flags.adapt(cfg), fromLastGood, rejected)
	case activated || d.flags.socket != "":
		d.enforce(d.flags.adapt(config.Default()), fromBuiltIn, rejected)
	default:
		return errNoSettings
	}
	d.log.Error(fmt.Sprintf("the configuration was rejected: %s, until it is right", d.inForce()), "event", "config-rejected",
		"source", string(d.source), "config", describeFiles(d.cfg))
	return nil
}

// enforce notes which settings are in force, and what is wrong with the files as they are.
func (d *daemon) enforce(cfg *config.Config, from source, rejected error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cfg, d.source, d.loaded, d.rejected = cfg, from, time.Now(), rejected
}

// keepConfig keeps the configuration in force for a start at which the files are wrong.
func (d *daemon) keepConfig() {
	if path, ok := d.flags.configPath(); ok && d.rejected == nil {
		d.lastGood.keep(path, d.cfg.Files)
	}
}

// inForce says which settings are in force, where the files are wrong.
func (d *daemon) inForce() string {
	switch d.source {
	case fromLastGood:
		return "the last good one is in force"
	case fromBuiltIn:
		return "the built-in settings are in force"
	default:
		return "the one of before is kept"
	}
}

// summary is how the daemon is, in one line for systemctl status.
func (d *daemon) summary() string {
	text := "listening on " + strings.Join(d.paths(), ", ")
	for _, err := range d.unbound {
		text += "; " + err.Error()
	}
	if problem, _ := d.storage.texts(); problem != "" {
		text += "; the state cannot be written: " + problem
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.rejected != nil {
		first, _, _ := strings.Cut(d.rejected.Error(), "\n")
		text += fmt.Sprintf("; the configuration was rejected, %s: %s", d.inForce(), first)
	}
	return text
}
