package conn

// A pool keeps buffers that are empty now. Only the loop uses it.
type pool struct {
	free  [][]byte
	bytes int
}

const (
	newBuffer = 1 << 10
	// LargestKept is the size of the largest buffer that is worth being kept.
	LargestKept  = 1 << 20
	mostKeptFree = 2 << 20 // in all
)

func (p *pool) get() []byte {
	if n := len(p.free); n > 0 {
		b := p.free[n-1]
		p.free[n-1] = nil
		p.free = p.free[:n-1]
		p.bytes -= cap(b)
		return b
	}
	return make([]byte, 0, newBuffer)
}

func (p *pool) put(b []byte) {
	if cap(b) == 0 || cap(b) > LargestKept || p.bytes+cap(b) > mostKeptFree {
		return
	}
	p.free = append(p.free, b[:0])
	p.bytes += cap(b)
}
