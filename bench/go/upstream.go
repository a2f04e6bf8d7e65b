// upstream is a fast stand-in for a model server: a small JSON answer, or with "stream":true
// server-sent events (?n= chunks, ?d= milliseconds apart).
package main

import (
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"time"
)

const answer = `{"id":"c","object":"chat.completion","choices":[{"index":0,"finish_reason":"stop",` +
	`"message":{"role":"assistant","content":"hello there"}}],` +
	`"usage":{"prompt_tokens":25,"completion_tokens":10,"total_tokens":35}}`

const event = "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\"," +
	"\"choices\":[{\"index\":0,\"delta\":{\"content\":\"tok%d\"}}]}\n\n"

func number(r *http.Request, name string, otherwise int) int {
	if n, err := strconv.Atoi(r.URL.Query().Get(name)); err == nil {
		return n
	}
	return otherwise
}

func stream(w http.ResponseWriter, r *http.Request) {
	chunks, pause := number(r, "n", 200), time.Duration(number(r, "d", 0))*time.Millisecond
	w.Header().Set("Content-Type", "text/event-stream")
	flusher := w.(http.Flusher)
	for i := 0; i < chunks; i++ {
		fmt.Fprintf(w, event, i)
		flusher.Flush()
		if pause > 0 {
			time.Sleep(pause)
		}
	}
	io.WriteString(w, "data: [DONE]\n\n")
}

func main() {
	http.HandleFunc("/health", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte(`"stream":true`)) {
			stream(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, answer)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
