package daemon

import (
	"errors"
	"fmt"
	"time"

	"github.com/ipcd/ipcd/internal/config"
)

const (
	// loadTime is how long the files of a configuration may take to be read: far more than any disk takes. A file system whose
	// server is gone may take for ever, and nothing ends such a read.
	loadTime = 5 * time.Second
	// maxLoads is how many reads may hang. Several, because a file that hangs may have been replaced by one that does not.
	maxLoads = 4
)

// A loader reads the configuration, and does not wait for ever.
type loader struct {
	read func() (*config.Config, error)
	busy chan struct{} // has one for each read that has not ended
	late chan struct{} // has one after a read has ended that was given up
}

func newLoader(read func() (*config.Config, error)) *loader {
	return &loader{read, make(chan struct{}, maxLoads), make(chan struct{}, 1)}
}

// load reads the configuration within [loadTime], or says why not.
func (l *loader) load() (*config.Config, error) {
	select {
	case l.busy <- struct{}{}:
	default:
		return nil, errors.New("cannot read the configuration: the reads before this one still hang, in a file system that does not answer")
	}
	type result struct {
		cfg *config.Config
		err error
	}
	results, givenUp := make(chan result), make(chan struct{})
	go func() {
		cfg, err := l.read()
		<-l.busy
		select {
		case results <- result{cfg, err}:
		case <-givenUp:
			select {
			case l.late <- struct{}{}:
			default:
			}
		}
	}()
	timer := time.NewTimer(loadTime)
	defer timer.Stop()
	select {
	case r := <-results:
		return r.cfg, r.err
	case <-timer.C:
		close(givenUp)
		return nil, fmt.Errorf("cannot read the configuration within %v: its file system does not answer", loadTime)
	}
}
