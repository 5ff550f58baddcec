package main

import (
	"math"
	"slices"
)

// quantile is the smallest sample that at least a part q of the samples does not exceed
// (nearest rank); NaN without samples.
func quantile(samples []float64, q float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// median is the middle sample, or the mean of the two in the middle.
func median(samples []float64) float64 {
	if len(samples) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(samples))
	half := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[half]
	}
	return (sorted[half-1] + sorted[half]) / 2
}

// ratio is the median of the ratios of two series, round by round: a disturbance affects
// both figures of a round. 0 if the series have no round in common.
func ratio(of, to map[int]float64) float64 {
	var ratios []float64
	for round, v := range of {
		if base := to[round]; base > 0 {
			ratios = append(ratios, v/base)
		}
	}
	if len(ratios) == 0 {
		return 0
	}
	return median(ratios)
}

func contains(names []string, name string) bool { return slices.Contains(names, name) }

// chosen is true if a name is in a list. An empty list has all names.
func chosen(names []string, name string) bool { return len(names) == 0 || contains(names, name) }

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
