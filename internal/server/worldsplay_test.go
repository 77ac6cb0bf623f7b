package server

import (
	"bytes"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ipcd/ipcd/internal/account"
	"github.com/ipcd/ipcd/internal/conn/conntest"
	"github.com/ipcd/ipcd/internal/peer"
	"github.com/ipcd/ipcd/internal/record"
	"github.com/ipcd/ipcd/ipc/wire"
)

// A worldPlay is a daemon and the model of it, led through the same steps. Nothing in it is real but the daemon: its connections are those
// of a [conntest.Kernel], processes are pipes whose ends are told as a pidfd tells them, the journal is a map, and time goes on when a
// step says so.
type worldPlay struct {
	*stage
	kernel    *worldKernel
	journal   *memory
	processes []*pretended
	seats     []*conntest.End // nil: nobody is there
	watcher   *conntest.End   // is subscribed to all
	begun     time.Duration   // when the daemon did, as its clock says
	base      *worldBase      // with what it has
	model     *worldModel
	moments   []*worldModel // of this step, from before it to its end

	// The daemon crashes when it has written to the journal or to a socket so often in this step; 0: it does not; below 0: nobody counts.
	at, did int
	cut     *worldCut
}

// A worldCut is what there is of a daemon that has crashed: what it has written down, and what each seat has been sent by then.
type worldCut struct {
	lines map[string]string
	got   map[int][]byte
}

// A worldBase is what a daemon begins with, and all that is left of what was before it.
type worldBase struct {
	lines map[string]string
	model *worldModel   // of the daemon before, when it crashed
	time  time.Duration // which it was then
}

// later is the base at another time: what is to be over at a time is as far from it as it was.
func (b *worldBase) later(now time.Duration) *worldBase {
	next := &worldBase{map[string]string{}, b.model.clone(), now}
	for key, line := range b.lines {
		is := must(record.Decode([]byte(line)))
		if v, ok := is.Is.(*record.Retained); ok && v.Expires != 0 {
			v.Expires += now - b.time
		}
		next.lines[key] = string(is.Append(nil))
	}
	for topic, v := range next.model.values {
		if v.Expires != 0 {
			v.Expires += now - b.time
			next.model.values[topic] = v
		}
	}
	return next
}

// A worldJournal says when the daemon has written something down. By then all may have been sent that was to be sent before.
type worldJournal struct {
	*memory
	p *worldPlay
}

func (j worldJournal) Apply(records ...record.Record) error {
	if j.p.Server != nil {
		j.p.set.Net.FlushAll()
	}
	defer j.p.wrote()
	return j.memory.Apply(records...)
}

// A worldKernel says when the daemon has written to a socket.
type worldKernel struct {
	*conntest.Kernel
	wrote func()
}

func (k *worldKernel) Send(fd int, b []byte) (int, unix.Errno) {
	defer k.wrote()
	return k.Kernel.Send(fd, b)
}

func (k *worldKernel) SendVector(fd int, vec []unix.Iovec) (int, unix.Errno) {
	defer k.wrote()
	return k.Kernel.SendVector(fd, vec)
}

// A pretended process is as many pipes as the daemon has opened descriptors of it. They can be read when it has ended, and hang up when it is
// reaped.
type pretended struct {
	state            worldState
	readers, writers []int
	events           []unix.EpollEvent // that the daemon has not been told
}

// pretendedKind is that of pidfds where connections are no descriptors.
const pretendedKind = pidfdKind - 1

func (p *pretended) open() (int, error) {
	if p.state == gone {
		return -1, unix.ESRCH
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC|unix.O_NONBLOCK); err != nil {
		return -1, err
	}
	p.readers, p.writers = append(p.readers, fds[0]), append(p.writers, fds[1])
	if p.state == zombie {
		p.change(zombie)
	}
	return fds[0], nil
}

// change has a process be in another state.
func (p *pretended) change(state worldState) {
	p.state = state
	for i, fd := range p.writers {
		if state == zombie {
			_, _ = unix.Write(fd, []byte{0}) // the daemon may have closed it
		} else {
			_ = unix.Close(fd)
		}
		p.events = append(p.events, unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(p.readers[i]), Pad: pretendedKind})
	}
	if state == gone {
		p.readers, p.writers = nil, nil
	}
}

// newBase is that of a world in which nothing has happened.
func newBase(w *smallWorld) *worldBase {
	m := &worldModel{values: map[string]record.Retained{}, lives: map[string]int{}}
	for _, process := range w.seats {
		m.seats = append(m.seats, worldSeat{process: process})
		m.processes = make([]worldState, max(len(m.processes), process+1))
	}
	return &worldBase{model: m}
}

// newPlay begins with what a daemon before has left.
func newPlay(t *testing.T, base *worldBase) *worldPlay {
	p := &worldPlay{stage: &stage{t: t}}
	for _, state := range base.model.processes {
		p.processes = append(p.processes, &pretended{state: state})
	}
	p.start(base)
	return p
}

// end gives back what a play has.
func (p *worldPlay) end() {
	p.close()
	for _, is := range p.processes {
		for _, fd := range is.writers {
			_ = unix.Close(fd)
		}
	}
}

// start starts a daemon.
func (p *worldPlay) start(base *worldBase) {
	p.base = base
	var clock unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &clock) // it cannot fail; the daemon begins a moment later
	base = base.later(time.Duration(clock.Nano()))
	p.journal = &memory{lines: base.lines}
	p.model = base.model
	p.seats, p.watcher = make([]*conntest.End, len(p.model.seats)), nil
	p.kernel = &worldKernel{conntest.New(), p.wrote}
	p.stage.kernel, p.Server = p.kernel.Kernel, nil
	open := func(who peer.Peer) (int, error) { return p.processes[who.PID-worldPID].open() }
	p.Server, _ = newServer(p.t, func(s *Setup, _ *Options) {
		s.Log, s.Verify, s.Kernel = slog.New(slog.DiscardHandler), false, p.kernel
		s.Journal, s.Records = worldJournal{p.journal, p}, must(p.journal.Read())
		s.OpenPeer = func(_ int, who peer.Peer) (int, error) { return open(who) }
		s.OpenProcess = open
		s.ZombieStatus = func(pid int, _ uint64) (peer.End, bool) { return peer.End{Signal: unix.SIGKILL}, pid == worldPID }
		s.EndingTime = kernelTime
	})
	p.begun = p.set.Loop.Clock.Lately()
	if p.begun == 0 { // nobody has asked for the time
		p.begun = p.set.Loop.Clock.Read()
	}
	p.model.begun = p.begun
	p.model.crash()
	p.moment()
	p.model.restore(p.moment)
	p.moment()
	p.set.Net.Now = func() time.Duration { return 0 } // nothing takes any time
	p.set.Loop.Clock.SetNow(p.begun)
	p.watch.FindKnown()
	p.wills.Start()
	p.locks.Start()
	p.set.EndTurn()
	p.settle(0)
	p.connectAll()
}

// settle makes turns until there is nothing to do, at a time since the daemon's start.
func (p *worldPlay) settle(now time.Duration) {
	for busy := true; busy; {
		var events []unix.EpollEvent
		for _, is := range p.processes {
			events = append(events, is.events...)
			is.events = nil
		}
		p.set.Loop.Clock.SetNow(p.begun + now)
		p.set.Net.BeginTurn()
		busy = p.kernel.Tell()
		p.set.Net.EndEvents()
		p.set.Net.WrapUp()
		p.set.Loop.TimeUp()
		busy = busy || !p.idle() || len(events) > 0
		p.turn(events)
	}
}

// wrote is told that the daemon has written to its journal or to a socket.
func (p *worldPlay) wrote() {
	if p.at < 0 {
		return // it is no part of the step
	}
	if p.did++; p.did != p.at {
		return
	}
	p.cut = &worldCut{maps.Clone(p.journal.lines), map[int][]byte{}}
	for seat, end := range p.ends() {
		p.cut.got[seat] = bytes.Clone(end.Got)
	}
}

// ends are the connections that there are, by seat.
func (p *worldPlay) ends() map[int]*conntest.End {
	all := map[int]*conntest.End{}
	for seat, end := range p.seats {
		if end != nil {
			all[seat] = end
		}
	}
	if p.watcher != nil {
		all[watcher] = p.watcher
	}
	return all
}

// connectAll has all connect who live, and the watcher. That is no part of a step.
func (p *worldPlay) connectAll() {
	p.at = -1
	p.watcher, _ = p.join(worldPID-1, "BUS.SUB", "#")
	for seat, is := range p.model.seats {
		if p.model.processes[is.process] == alive {
			p.connect(seat)
		}
	}
	p.settle(p.model.now)
	for _, end := range p.ends() {
		end.Take() // the watcher gets the values, which are compared otherwise
	}
}

func (p *worldPlay) connect(seat int) {
	is := &p.model.seats[seat]
	p.seats[seat], is.id = p.join(worldPID + is.process)
}

func (p *worldPlay) join(pid int, words ...string) (*conntest.End, uint64) {
	end := p.kernel.Connect()
	sess := must(p.Server.join(end.FD, peer.Peer{UID: worldUser, PID: pid, Start: worldStart}))
	end.Send(wire.AppendCommand(nil, "HELLO", "3")...)
	if len(words) > 0 {
		end.Send(wire.AppendCommand(nil, words...)...)
	}
	return end, sess.ID
}

// moment notes what is a fact from now on.
func (p *worldPlay) moment() { p.moments = append(p.moments, p.model.clone()) }

// command has a seat say something, and the model know what follows.
func (p *worldPlay) command(seat int, does func(m *worldModel), words ...string) {
	p.moment()
	does(p.model)
	p.moment()
	p.seats[seat].Send(wire.AppendCommand(nil, words...)...)
	p.settle(p.model.now)
}

// hangUp closes the connection of a seat.
func (p *worldPlay) hangUp(seat int) {
	p.model.hangUp(seat)
	p.moment()
	p.seats[seat].Close()
	p.seats[seat] = nil
	p.settle(p.model.now)
}

// becomes is what becomes of a process.
func (p *worldPlay) becomes(process int, state worldState) {
	p.model.processes[process] = state
	p.moment()
	p.model.ended(process, p.moment)
	p.moment()
	p.processes[process].change(state)
	p.settle(p.model.now)
}

// pass has the time go on.
func (p *worldPlay) pass() {
	p.moment()
	p.model.pass(p.moment)
	p.moment()
	p.settle(p.model.now)
}

// crash kills the daemon, and starts the next one.
func (p *worldPlay) crash() {
	at, base := p.at, &worldBase{maps.Clone(p.journal.lines), p.model, p.begun + p.model.now}
	p.at = -1 // what is said now is said to nobody
	p.close()
	p.at = at
	p.start(base)
}

// fall has the daemon crash where it has come to in the middle of a step, if it has come there. What it has written down by then has
// to be one of the moments of that, and what it has told no more than that.
func (p *worldPlay) fall() (did bool, err error) {
	if p.cut == nil {
		return false, nil
	}
	kept := keptIn(p.cut.lines)
	for i, m := range slices.Backward(p.moments) {
		if !slices.Equal(m.kept(), kept) || p.compareGot(m, p.cut.got, true) != nil {
			if i == 0 {
				told, group := p.read(p.cut.got)
				return true, fmt.Errorf("where the daemon crashes it has written down\n%s\nand has told %v, and to a group %q", strings.Join(kept, "\n"), told, group)
			}
			continue
		}
		p.model = m
		break
	}
	p.journal.lines = p.cut.lines
	p.cut, p.moments = nil, nil
	p.crash()
	return true, nil
}

// keptIn is what is in a journal, without times.
func keptIn(lines map[string]string) []string {
	var all []string
	for _, line := range lines {
		is := must(record.Decode([]byte(line)))
		if v, ok := is.Is.(*record.Retained); ok {
			v.Time = 0
		}
		all = append(all, string(is.Append(nil)))
	}
	slices.Sort(all)
	return all
}

// read is what seats have been sent, in short, and what the group was given.
func (p *worldPlay) read(got map[int][]byte) (told map[int]string, group []string) {
	told = map[int]string{}
	for seat, b := range got {
		for v := range values(p.t, b) {
			text := strings.Join(strings.Fields(v.Str), " ")
			switch {
			case v.Kind == wire.KindError:
				text, _, _ = strings.Cut(text, " ")
			case len(v.Elems) > 10 && v.Elems[10].Get("group").Str != "":
				group = append(group, bequest(v))
				continue
			case len(v.Elems) > 0 && v.Elems[0].Str == "bus.message":
				text = bequest(v)
			case len(v.Elems) > 0 && v.Elems[0].Str == "seq":
				text = v.Elems[1].Text()
			case len(v.Elems) > 0:
				text = strings.TrimPrefix(v.Elems[0].Str, "bus.") + " " + v.Elems[1].Text()
			case v.Kind == wire.KindInt:
				text = v.Text()
			}
			told[seat] += text + "\n"
		}
	}
	slices.Sort(group)
	return told, group
}

// compareGot holds what everybody has been sent against a model; a part of it is enough if the daemon has crashed.
func (p *worldPlay) compareGot(m *worldModel, got map[int][]byte, part bool) error {
	told, group := p.read(got)
	for seat := watcher; seat < len(p.seats); seat++ {
		if told[seat] != m.told[seat] && (!part || !strings.HasPrefix(m.told[seat], told[seat])) {
			return fmt.Errorf("seat %d is told\n%sand is to be told\n%s", seat, told[seat], m.told[seat])
		}
	}
	want := slices.Sorted(slices.Values(m.group))
	if part {
		want = slices.DeleteFunc(want, func(text string) bool { return !slices.Contains(group, text) })
	}
	if !slices.Equal(group, want) {
		return fmt.Errorf("a group is given %q, and is to be given %q", group, m.group)
	}
	return nil
}

// check holds the daemon against the model at the end of a step.
func (p *worldPlay) check() error {
	got := map[int][]byte{}
	for seat, end := range p.ends() {
		got[seat] = []byte(end.Take())
	}
	if err := p.compareGot(p.model, got, false); err != nil {
		return err
	}
	if got, want := keptIn(p.journal.lines), p.model.kept(); !slices.Equal(got, want) {
		return fmt.Errorf("the journal has\n%s\nand should have\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	wills, next := 0, time.Duration(0)
	for _, o := range p.model.owners {
		wills += len(o.wills)
	}
	if at, set := p.set.Loop.Timers.Next(); set {
		next = at - p.begun
	}
	if n, uses := p.wills.Len(), p.watch.Uses(); n != wills || uses != len(p.model.owners) || next != p.model.next() {
		return fmt.Errorf("%d wills of %d wait until %v; it should be %d of %d until %v", n, uses, next, wills, len(p.model.owners), p.model.next())
	}
	p.verify()
	return p.compareValues()
}

func (p *worldPlay) compareValues() error {
	for _, topic := range []string{"a", "b"} {
		p.watcher.Send(wire.AppendCommand(nil, "BUS.GET", topic)...)
		p.settle(p.model.now)
		for v := range values(p.t, []byte(p.watcher.Take())) {
			want, has := p.model.values[topic]
			got := record.Retained{
				Topic: topic, Payload: v.Get("payload").Str, Seq: uint64(v.Get("seq").Int), PID: int(v.Get("pid").Int), Ended: v.Get("ended").Str,
				Start: want.Start, UID: want.UID, Expires: want.Expires,
			}
			left := int64(-1)
			if want.Expires != 0 {
				left = (want.Expires - p.begun - p.model.now).Milliseconds()
			}
			if has && v.Get("expires").Int != left {
				return fmt.Errorf("the value of %s is over after %d ms, and should be after %d", topic, v.Get("expires").Int, left)
			}
			if has == v.IsNull() || has && fmt.Sprint(got) != fmt.Sprint(want) {
				return fmt.Errorf("the value of %s is %+v, and should be %+v", topic, got, want)
			}
		}
	}
	return nil
}

// text is what states are told apart by: the model's, and what is to be seen of the daemon beside that.
func (p *worldPlay) text() string {
	charged := make([]int, account.Wills+1)
	for i := range charged {
		charged[i] = p.set.Users.Total(account.Column(i))
	}
	return fmt.Sprint(p.model.text(), charged, p.set.Loop.Timers.Len(), p.watch.Uses(), p.set.Net.Len())
}
