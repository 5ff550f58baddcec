// Package keeperlink is the daemon's connection to the keeper, made again when it breaks.
package keeperlink
