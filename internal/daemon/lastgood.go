package daemon

import (
	"slices"
	"sync"

	"github.com/ipcd/ipcd/internal/config"
	"github.com/ipcd/ipcd/internal/state"
)

// lastGoodName is the file of the state directory with the configuration that was in force last.
const lastGoodName = "last-good-config"

// A lastGood keeps the configuration that was in force last, as the texts of its files: what a daemon starts with when the files
// say something wrong.
type lastGood struct {
	work   *sync.WaitGroup
	failed func(error)
	table  *state.Table[config.File]

	mu      sync.Mutex
	files   []config.File // what the table has, or will have
	writing bool          // a goroutine is at it
}

// openLastGood opens what is kept in the directory of the mark. The error is one to tell: what cannot be read is as good as none.
// Without a mark there is no directory, nothing is kept, and lastGood is nil.
func openLastGood(mark *state.Mark, work *sync.WaitGroup, failed func(error)) (*lastGood, error) {
	if mark == nil {
		return nil, nil
	}
	t, err := state.OpenTable(mark, lastGoodName, func([]config.File) error { return nil })
	if err != nil {
		return nil, err
	}
	return &lastGood{work: work, failed: failed, table: t, files: t.Rows()}, t.Corrupt()
}

// config is what was kept when it was opened, or nil if nothing was.
func (l *lastGood) config() (*config.Config, error) {
	if l == nil || len(l.table.Rows()) == 0 {
		return nil, nil
	}
	return config.Parse(l.table.Rows())
}

// keep keeps the files of the configuration that is read from path, without waiting for the disk.
func (l *lastGood) keep(path string, files []config.File) {
	if l == nil {
		return
	}
	if len(files) == 0 { // There is none, which means what an empty one does.
		files = []config.File{{Path: path}}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.Equal(l.files, files) {
		return
	}
	l.files = files
	if !l.writing {
		l.writing = true
		l.work.Go(l.write)
	}
}

// write writes until what is on the disk is what is to be kept.
func (l *lastGood) write() {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.writing = false }()
	for {
		files := l.files
		l.mu.Unlock()
		err := l.table.Save(files)
		l.mu.Lock()
		if !slices.Equal(files, l.files) {
			continue
		}
		if err != nil {
			l.files = nil // The next one is written whatever it is.
			l.failed(err)
		}
		return
	}
}
