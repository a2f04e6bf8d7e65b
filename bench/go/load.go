// load is a closed-loop load generator: -c connections, -n requests in all. It prints one JSON object:
// requests and chunks per second, and the time to the first byte of the body.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"os"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type result struct {
	Seconds  float64 `json:"seconds"`
	Requests int     `json:"requests"`
	Errors   int64   `json:"errors"`
	Chunks   int64   `json:"chunks"`
	P50      float64 `json:"first_byte_p50_ms"`
	P99      float64 `json:"first_byte_p99_ms"`
}

func main() {
	target := flag.String("u", "", "URL")
	connections := flag.Int("c", 16, "connections")
	requests := flag.Int("n", 1000, "requests in all")
	streaming := flag.Bool("stream", false, "ask for a stream")
	flag.Parse()

	body := `{"model":"bench","messages":[{"role":"user","content":"hi"}]}`
	if *streaming {
		body = `{"model":"bench","stream":true,"messages":[{"role":"user","content":"hi"}]}`
	}
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: *connections}}
	var errors, chunks, next atomic.Int64
	first := make([]float64, *requests)
	started := time.Now()
	var workers sync.WaitGroup
	for w := 0; w < *connections; w++ {
		workers.Add(1)
		go func() {
			defer workers.Done()
			for {
				i := int(next.Add(1)) - 1
				if i >= *requests {
					return
				}
				ms, seen, ok := one(client, *target, body, *streaming)
				first[i] = ms
				chunks.Add(seen)
				if !ok {
					errors.Add(1)
				}
			}
		}()
	}
	workers.Wait()
	elapsed := time.Since(started).Seconds()
	sort.Float64s(first)
	at := func(q float64) float64 { return first[int(q*float64(len(first)-1))] }
	json.NewEncoder(os.Stdout).Encode(result{elapsed, *requests, errors.Load(), chunks.Load(), at(.5), at(.99)})
}

func one(client *http.Client, target, body string, streaming bool) (ms float64, chunks int64, ok bool) {
	began := time.Now()
	response, err := client.Post(target, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, 0, false
	}
	defer response.Body.Close()
	if !streaming {
		_, err = io.Copy(io.Discard, response.Body)
		return time.Since(began).Seconds() * 1e3, 0, err == nil && response.StatusCode == 200
	}
	reader := bufio.NewReaderSize(response.Body, 65536)
	for {
		line, err := reader.ReadSlice('\n')
		if ms == 0 {
			ms = time.Since(began).Seconds() * 1e3
		}
		if len(line) > 5 {
			chunks++
		}
		if err != nil {
			return ms, chunks, err == io.EOF && response.StatusCode == 200
		}
	}
}
