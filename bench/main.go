// Command bench prints every figure of this project beside its native or peer
// baseline, measured in the same run:
//
//	go run ./bench              all rows
//	go run ./bench measure      rows whose name has that word
//
// Ours and the baseline run in turn, several times; the figures are medians, and
// the ratio is the median of the ratios of neighbours, so that a machine whose
// speed drifts does not spoil it. Quote ratios, not single figures.
package main

import (
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// row is one line of the page.
type row struct {
	name string
	ours side
	base side   // what ours is held against
	goal string // in words; empty if there is none
}

// side is one way to do the work: a benchmark, which reports bytes by b.SetBytes
// if the figure is a rate, or a function that takes the figure itself.
type side struct {
	name string
	run  func(b *testing.B)
	take func() figure
	once bool // one round is enough, and takes long enough
}

// rounds is how often each side of a row runs.
const rounds = 5

// line is the form of the page: columns of fixed width, so that a row shows as
// soon as it is measured.
const line = "%-40s %-33s %-50s %-6s %s\n"

func main() {
	if isPlain() {
		return
	}
	testing.Init()
	benchtime := flag.String("time", "200ms", "how long each side runs in each round")
	flag.Parse()
	if err := flag.Set("test.benchtime", *benchtime); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	dir, err := os.MkdirTemp("", "eos-bench")
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)

	fmt.Printf("%s, %s/%s, %d processors\n\n", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
	fmt.Printf(line, "what", "ours", "baseline", "ratio", "goal")
	for _, r := range rows(dir) {
		if !wanted(r.name) {
			continue
		}
		ours, base, ratio := compare(r)
		fmt.Printf(line, r.name, ours.String(), fmt.Sprintf("%v, %s", base, r.base.name), ratioText(ratio), r.goal)
	}
}

// ratioText leaves out what is no number: nothing compared with nothing.
func ratioText(r float64) string {
	if math.IsNaN(r) || math.IsInf(r, 0) {
		return "-"
	}
	return fmt.Sprintf("%.2f", r)
}

func wanted(name string) bool {
	for _, word := range flag.Args() {
		if strings.Contains(name, word) {
			return true
		}
	}
	return flag.NArg() == 0
}

// rows puts the page together; dir is for its files.
func rows(dir string) []row {
	return slices.Concat(imageRows(dir), signRows(), enterRows(), usercallRows(dir), goRows(dir), attestRows(), storeRows(dir), runtimeRows(dir), wasmRows(), appRows(dir))
}

// compare runs both sides in turn. The ratio is ours/baseline of rates, and of
// times.
func compare(r row) (ours, base figure, ratio float64) {
	var a, b []figure
	var ratios []float64
	n := rounds
	if r.ours.once {
		n = 1
	}
	for range n {
		x, y := measure(r.ours), measure(r.base)
		a, b = append(a, x), append(b, y)
		ratios = append(ratios, x.value/y.value)
	}
	return medianFigure(a), medianFigure(b), median(ratios)
}

// figure is a rate of that unit or, if it has none, a time in ns. note is said
// beside it.
type figure struct {
	value float64
	unit  string
	note  string
}

// withLatency is the rate of answers that took so long, with how long half and all but
// a hundredth of them took at most.
func withLatency(took []time.Duration, all time.Duration) figure {
	slices.Sort(took)
	ms := func(q int) float64 { return took[len(took)*q/100].Seconds() * 1000 }
	return figure{float64(len(took)) / all.Seconds(), "/s", fmt.Sprintf(" p50 %.2f p99 %.2f ms", ms(50), ms(99))}
}

func measure(s side) figure {
	if s.take != nil {
		return s.take()
	}
	res := testing.Benchmark(s.run)
	if res.N == 0 {
		fmt.Fprintf(os.Stderr, "bench: %s failed\n", s.name)
		os.Exit(1)
	}
	if res.Bytes > 0 {
		return figure{value: float64(res.Bytes) * float64(res.N) / 1e6 / res.T.Seconds(), unit: " MB/s"}
	}
	return figure{value: float64(res.T.Nanoseconds()) / float64(res.N)}
}

func (f figure) String() string {
	switch {
	case f.unit != "":
		return fmt.Sprintf("%.0f%s%s", f.value, f.unit, f.note)
	case f.value < 1000:
		return fmt.Sprintf("%.0f ns", f.value)
	case f.value < 1e6:
		return fmt.Sprintf("%.2f µs", f.value/1e3)
	default:
		return fmt.Sprintf("%.2f ms", f.value/1e6)
	}
}

func medianFigure(f []figure) figure {
	slices.SortFunc(f, func(a, b figure) int {
		switch {
		case a.value < b.value:
			return -1
		case a.value > b.value:
			return 1
		}
		return 0
	})
	return f[len(f)/2]
}

func median(x []float64) float64 {
	slices.Sort(x)
	return x[len(x)/2]
}
