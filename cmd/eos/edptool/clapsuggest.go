package edptool

// unknownLong refuses a long option, and names one like it: clap takes that one
// as meant also in the usage that it prints.
func (c *command) unknownLong(g given, long string) *usageError {
	var best *arg
	closest := 0.8
	for _, a := range append(append([]arg{}, c.args...), helpArg, versionArg) {
		if a.long == "" {
			continue
		}
		if d := jaroWinkler(long, a.long); d > closest {
			best, closest = &a, d
		}
	}
	if best == nil {
		return c.unknown(g, "--"+long)
	}
	if _, ok := g.times[best.name]; !ok {
		g.times[best.name] = 0
	}
	return c.refuse(g, "Found argument '--%s' which wasn't expected, or isn't valid in this context\n\tDid you mean --%s?", long, best.long)
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
