package conn

// How much waits for a peer is known in bytes. How many replies and messages that are is asked for now and then, by whoever looks on, so it
// is found out then: some at a time, and of each part of a backlog once, as the part keeps what was found. What comes one by one is counted
// as it comes, behind what is counted; so there is an end to that, however much comes meanwhile.

// A tally is how many values the first bytes of a part have.
type tally struct{ bytes, values int }

// add counts one more value.
func (t *tally) add(size int) {
	t.bytes += size
	t.values++
}

// goOn counts the values of b that end at an offset, or before it, of which there may be so many more. It reports whether these are all.
func (t *tally) goOn(b []byte, end int, most *int) bool {
	for t.bytes < end {
		n := ValueLen(b[t.bytes:])
		if t.bytes+n > end {
			break
		}
		if *most == 0 {
			return false
		}
		*most--
		t.add(n)
	}
	return true
}

// tallies are those of a part of a backlog: of what is in it, and of what of that is written.
type tallies struct{ all, written tally }

// valuesIn is how many values there are in b.
func valuesIn(b []byte) (n int) {
	for ; len(b) > 0; n++ {
		b = b[ValueLen(b):]
	}
	return n
}

// countAtOnce is how many values are counted at once, in some ten microseconds.
const countAtOnce = 128

// CountWaiting counts the replies and messages that wait as the peer does not read, one that is written in part among them: a few at a time.
// It reports whether n is how many there are; else it is to be called again.
func (c *Conn) CountWaiting() (n int, done bool) {
	if !c.is(isBlocked) {
		return 0, true
	}
	x := c.more
	most, sent := countAtOnce, x.sent
	done = true
	count := func(b []byte, t *tallies) {
		if !t.all.goOn(b, len(b), &most) || !t.written.goOn(b, sent, &most) {
			done = false
		}
		n += t.all.values - t.written.values
		sent = 0
	}
	for i := range x.parts {
		count(x.parts[i].b, &x.parts[i].tallies)
	}
	count(c.own, &x.ofOwn)
	if x.queue != nil {
		n += x.queue.values
	}
	if x.long != nil {
		n++
	}
	return n, done
}

// isOf reports whether a tally may be one of b.
func (t *tally) isOf(b []byte) bool {
	at, n := 0, 0
	for ; at < t.bytes && t.bytes <= len(b); n++ {
		at += ValueLen(b[at:])
	}
	return at == t.bytes && n == t.values
}
