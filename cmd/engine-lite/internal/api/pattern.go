package api

import "strings"

// pattern is a path with at most one wildcard: "{id}" stands for one segment,
// "{name...}" for one or more (image names have slashes), at any place. A "*"
// after it is any one segment.
type pattern struct {
	before, after []string
	wild, multi   bool
}

// newPattern reads "/images/{name...}/json".
func newPattern(s string) pattern {
	var p pattern
	for _, seg := range segments(s) {
		switch {
		case strings.HasPrefix(seg, "{"):
			p.wild, p.multi = true, strings.HasSuffix(seg, "...}")
		case p.wild:
			p.after = append(p.after, seg)
		default:
			p.before = append(p.before, seg)
		}
	}
	return p
}

// segments splits a path; empty segments don't count, so that a container named
// with its slash ("/containers//name/json") is found without a redirect.
func segments(path string) []string {
	return strings.FieldsFunc(path, func(c rune) bool { return c == '/' })
}

// match tells whether the path fits, and what the wildcard stands for.
func (p pattern) match(segs []string) (name string, ok bool) {
	rest := len(segs) - len(p.before) - len(p.after)
	if rest < 0 || !p.wild && rest != 0 || p.wild && (rest == 0 || rest > 1 && !p.multi) {
		return "", false
	}
	middle := len(p.before) + rest
	if !fits(p.before, segs[:len(p.before)]) || !fits(p.after, segs[middle:]) {
		return "", false
	}
	return strings.Join(segs[len(p.before):middle], "/"), true
}

// rank orders the patterns that match one path: the higher one is meant.
func (p pattern) rank() int {
	rank := 2 * (len(p.before) + len(p.after))
	if !p.wild {
		rank++
	}
	return rank
}

func fits(a, b []string) bool {
	for i := range a {
		if a[i] != b[i] && a[i] != "*" {
			return false
		}
	}
	return true
}
