package main

import "time"

// idleMemory is what a server has resident when nobody uses it.
func idleMemory(s *server, _ func(...*conn)) func(time.Duration) sample {
	return func(time.Duration) sample { return sample{value: float64(resident(s)), ops: 1} }
}

func resident(s *server) int {
	n, err := residentBytes(s.pid())
	must(err)
	return n
}

// idleCPU is what a server uses in a second in which nobody wants anything from it.
func idleCPU(s *server, _ func(...*conn)) func(time.Duration) sample {
	return func(time.Duration) sample {
		time.Sleep(100 * time.Millisecond) // the end of what was before
		before := s.cpu()
		time.Sleep(time.Second)
		return sample{value: (s.cpu() - before).Seconds(), ops: 1}
	}
}

// connectionMemory is what one connection adds to a server's resident memory when it has been used once and then left
// alone, as most are. The kernel's part, about 4.7 kB for both ends whoever listens, is not in it.
func connectionMemory(n int, idle time.Duration) scenario {
	return func(s *server, _ func(...*conn)) func(time.Duration) sample {
		value := 0.0
		return func(time.Duration) sample {
			if value == 0 { // the short turn before the one that counts has done it
				before := resident(s)
				all := dialAll(s.path, n)
				defer closeAll(all)
				for _, c := range all {
					c.ask("PING")
				}
				time.Sleep(idle) // Redis gives back what clients do not need any more after two seconds
				value = float64(resident(s)-before) / float64(n)
			}
			return sample{value: value, ops: 1}
		}
	}
}
