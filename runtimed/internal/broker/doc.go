// Package broker hands events to subscribers.
package broker
