package metric

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestAppend(t *testing.T) {
	var times Times
	for _, d := range []time.Duration{0, 100 * time.Microsecond, 101 * time.Microsecond, 2 * time.Second, time.Hour} {
		times.Observe(d)
	}
	got := string(Append([]byte("# before\n"),
		Value("z_total", "Lines\nand \\ and \"quotes\".", Counter, 1<<60),
		Family{"empty", "", Gauge, nil},
		Family{"a", "Of an app.", Gauge, []Sample{{Labels: []Label{{"app", "x"}, {"kind", "a\"b\\c\nd\xff"}}, Value: 1.5}, {Labels: []Label{{"app", "y"}}, Value: math.Inf(1)}}},
		Family{"z_total", "Told already.", Counter, []Sample{{Labels: []Label{{"app", "x"}}, Value: 3}}},
		Family{"t_seconds", "Times.", Histogram, []Sample{{Labels: []Label{{"app", "x"}}, Times: &times}}},
	))
	for _, want := range []string{
		"# before\n# HELP a Of an app.\n# TYPE a gauge\n" + `a{app="x",kind="a\"b\\c\nd` + "\ufffd\"} 1.5\n" + `a{app="y"} +Inf` + "\n# HELP t_seconds Times.\n# TYPE t_seconds histogram\n",
		`t_seconds_bucket{app="x",le="0.0001"} 2` + "\n" + `t_seconds_bucket{app="x",le="0.00025"} 3` + "\n",
		`t_seconds_bucket{app="x",le="1"} 3` + "\n" + `t_seconds_bucket{app="x",le="2.5"} 4` + "\n",
		`t_seconds_bucket{app="x",le="10"} 4` + "\n" + `t_seconds_bucket{app="x",le="+Inf"} 5` + "\n" +
			`t_seconds_sum{app="x"} 3602.000201` + "\n" + `t_seconds_count{app="x"} 5` + "\n",
		"# HELP z_total Lines\\nand \\\\ and \"quotes\".\n# TYPE z_total counter\nz_total 1.152921504606847e+18\nz_total{app=\"x\"} 3\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s\nhas no\n%s", got, want)
		}
	}
	if strings.Contains(got, "empty") || strings.Contains(got, "Told already") {
		t.Error(got)
	}
	if err := check(got); err != nil {
		t.Error(err)
	}
}

var (
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\})? (\S+)$`)
	typeLine   = regexp.MustCompile(`^# TYPE (\S+) (counter|gauge|histogram)$`)
)

// check reads the text by its grammar.
func check(text string) error {
	if !strings.HasSuffix(text, "\n") {
		return fmt.Errorf("the last line has no end")
	}
	kinds := map[string]string{}
	seen := map[string]bool{}
	for l := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if m := typeLine.FindStringSubmatch(l); m != nil {
			if kinds[m[1]] != "" {
				return fmt.Errorf("the type of %s comes twice", m[1])
			}
			kinds[m[1]] = m[2]
			continue
		}
		if strings.HasPrefix(l, "#") {
			continue
		}
		m := sampleLine.FindStringSubmatch(l)
		if m == nil {
			return fmt.Errorf("no sample: %q", l)
		}
		if _, err := strconv.ParseFloat(m[3], 64); err != nil {
			return fmt.Errorf("%q: %v", l, err)
		}
		if seen[m[1]+m[2]] {
			return fmt.Errorf("%s%s comes twice", m[1], m[2])
		}
		seen[m[1]+m[2]] = true
		family := m[1]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if f, ok := strings.CutSuffix(m[1], suffix); ok && kinds[f] == "histogram" {
				family = f
			}
		}
		if kinds[family] == "" {
			return fmt.Errorf("%s has no type before it", m[1])
		}
	}
	return nil
}

func FuzzAppend(f *testing.F) {
	f.Add("help", "label", 1.0)
	f.Add("\\\n\"", "\xff\\\n\"}", math.Inf(-1))
	f.Fuzz(func(t *testing.T, help, label string, v float64) {
		if math.IsNaN(v) || strings.ContainsRune(help, '\r') || strings.ContainsRune(label, '\r') {
			return
		}
		text := string(Append(nil, Family{"a_total", help, Counter, []Sample{{Labels: []Label{{"app", label}}, Value: v}}}))
		if err := check(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if n := strings.Count(text, "\n"); n != 3 {
			t.Errorf("%q has %d lines", text, n)
		}
	})
}

func TestWantsText(t *testing.T) {
	for accept, want := range map[string]bool{
		"":    false,
		"*/*": false,
		"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8": false,
		"application/json":                               false,
		"text/plain":                                     true,
		"Text/Plain;version=0.0.4":                       true,
		"text/plain, application/json":                   false,
		"text/plain;q=0.5,*/*;q=0.5":                     false,
		"text/plain;q=0":                                 false,
		"text/plain;q=x":                                 false,
		"application/json;q=0.1,text/*":                  true,
		"application/json;q=0.9,text/*;q=0.5,text/plain": true,
		"application/openmetrics-text;version=1.0.0;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3": true,
	} {
		if got := WantsText([]string{accept}); got != want {
			t.Errorf("%s: %v", accept, got)
		}
	}
	if WantsText(nil) || !WantsText([]string{"application/json;q=0.2", "text/plain;q=0.3"}) {
		t.Error("several headers are not taken as one")
	}
}

// Accept headers are anybody's: no panic, a weight is from 0 to 1 or worth nothing, and
// who asks for JSON alone never gets text.
func FuzzWantsText(f *testing.F) {
	f.Add("text/plain;version=0.0.4;q=0.5,*/*;q=0.1")
	f.Add("text/*;q=,;;,application/json;q=NaN")
	f.Fuzz(func(t *testing.T, accept string) {
		for _, kind := range []string{"text/plain", "application/json"} {
			if q := quality([]string{accept}, kind); !(q >= 0 && q <= 1) {
				t.Errorf("%q: %s has weight %v", accept, kind, q)
			}
		}
		if !strings.Contains(strings.ToLower(accept), "text") && WantsText([]string{accept, "application/json"}) && !strings.Contains(accept, "*") {
			t.Errorf("%q wants text", accept)
		}
	})
}
