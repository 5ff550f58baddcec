package filters

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// zonedDates are the forms of a date with a time zone, localDates those without.
var (
	zonedDates = []string{time.RFC3339Nano, "2006-01-02T15:04Z07:00", "2006-01-02Z07:00"}
	localDates = []string{"2006-01-02T15:04:05.999999999", "2006-01-02T15:04", "2006-01-02T15", "2006-01-02"}
)

// Moment reads Unix seconds with up to nine decimals, an RFC 3339 date (or
// the beginning of one, in local time), or a duration before now.
func Moment(s string, now time.Time) (time.Time, bool) {
	if s == "" || s == "0" {
		return time.Time{}, true
	}
	if t, ok := parseUnix(s); ok {
		return t, true
	}
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), true
	}
	for _, form := range zonedDates {
		if t, err := time.Parse(form, s); err == nil {
			return t, true
		}
	}
	for _, form := range localDates {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// maxSeconds is the last second that UnixNano can represent (in the year 2262).
const maxSeconds = math.MaxInt64 / int64(time.Second)

func parseUnix(s string) (time.Time, bool) {
	whole, fraction, hasFraction := strings.Cut(s, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec >= maxSeconds || sec <= -maxSeconds {
		return time.Time{}, false
	}
	if !hasFraction {
		return time.Unix(sec, 0), true
	}
	if fraction == "" || strings.Trim(fraction, "0123456789") != "" {
		return time.Time{}, false
	}
	nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	if strings.HasPrefix(whole, "-") {
		nanos = -nanos
	}
	return time.Unix(sec, nanos), true
}
