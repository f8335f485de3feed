package edptool

import (
	"slices"
	"strings"
)

// good colours a suggestion. Clap does so even where it colours nothing else, as
// in a pipe, so it is part of the message.
func good(s string) string { return "\x1b[32m" + s + "\x1b[0m" }

// unknownLong refuses a long option, and names one like it: clap takes that one
// as meant also in the usage that it prints.
func (c *command) unknownLong(g given, long string) *usageError {
	byLong := map[string]string{}
	var longs []string
	for _, a := range append(append([]arg{}, c.args...), helpArg, versionArg) {
		if a.long != "" {
			longs, byLong[a.long] = append(longs, a.long), a.name
		}
	}
	best := alike(long, longs)
	if best == "" {
		return c.unknown(g, "--"+long)
	}
	if name := byLong[best]; !g.has(name) {
		g.times[name] = 0
	}
	return c.refuse(g, "Found argument '--%s' which wasn't expected, or isn't valid in this context\n\tDid you mean %s%s?",
		long, good("--"), good(best))
}

// notOneOf refuses the value of an argument that may have only these values.
func (c *command) notOneOf(g given, a *arg, value string) *usageError {
	suggestion := ""
	if best := alike(value, a.oneOf); best != "" {
		suggestion = "\n\tDid you mean '" + good(best) + "'?"
	}
	return c.refuse(g, "'%s' isn't a valid value for '%s'\n\t[possible values: %s]\n%s",
		value, a, strings.Join(slices.Sorted(slices.Values(a.oneOf)), ", "), suggestion)
}

// alike returns the first of the words that are most like s, or nothing.
func alike(s string, words []string) (best string) {
	closest := 0.8
	for _, w := range words {
		if d := jaroWinkler(s, w); d > closest {
			best, closest = w, d
		}
	}
	return best
}

// jaroWinkler is how much two words are alike, 0 to 1: Jaro's measure, raised
// for a common prefix of any length.
func jaroWinkler(a, b string) float64 {
	x, y := []rune(a), []rune(b)
	d := jaro(x, y)
	prefix := 0
	for prefix < min(len(x), len(y)) && x[prefix] == y[prefix] {
		prefix++
	}
	return min(1, d+0.1*float64(prefix)*(1-d))
}

func jaro(a, b []rune) float64 {
	switch {
	case len(a) == 0 && len(b) == 0:
		return 1
	case len(a) == 0 || len(b) == 0:
		return 0
	case len(a) == 1 && len(b) == 1:
		if a[0] == b[0] {
			return 1
		}
		return 0
	}
	near := max(len(a), len(b))/2 - 1
	used := make([]bool, len(b))
	matches, swaps, last := 0.0, 0.0, 0
	for i, r := range a {
		for j := max(0, i-near); j < min(len(b), i+near+1); j++ {
			if used[j] || b[j] != r {
				continue
			}
			used[j] = true
			matches++
			if j < last {
				swaps++
			}
			last = j
			break
		}
	}
	if matches == 0 {
		return 0
	}
	return (matches/float64(len(a)) + matches/float64(len(b)) + (matches-swaps)/matches) / 3
}
