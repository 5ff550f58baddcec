package simulation

import (
	"time"
)

// dice are the decisions of one moment: a stream of numbers that follows from
// the seed, an actor's name and the number of its step, and from nothing else.
type dice struct{ state uint64 }

// mix is the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hash is FNV-1a: the same in each process, unlike maphash.
func hash(h uint64, words ...string) uint64 {
	for _, s := range words {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return h
}

func (d *dice) next() uint64 {
	d.state = mix(d.state)
	return d.state
}

// below is a number from 0 to n-1.
func (d *dice) below(n int) int { return int(d.next() % uint64(n)) }

// chance is true once in so many times.
func (d *dice) chance(times int) bool { return times > 0 && d.below(times) == 0 }

func (d *dice) between(from, to time.Duration) time.Duration {
	return from + time.Duration(d.next()%uint64(to-from))
}

// latency is how long a message takes: mostly next to nothing, now and then
// longer than a call's timeout.
func (d *dice) latency() time.Duration {
	switch n := d.below(1000); {
	case n < 850:
		return d.between(time.Microsecond, 3*time.Millisecond)
	case n < 970:
		return d.between(3*time.Millisecond, 200*time.Millisecond)
	case n < 998:
		return d.between(200*time.Millisecond, 4*time.Second)
	}
	return d.between(4*time.Second, 50*time.Second)
}
