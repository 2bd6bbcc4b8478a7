// What `python -m tests.bench` builds with Go: webpush-go, 16 messages at a time.
// A record is as long as header, message, delimiter and tag, since no other sender pads. The
// library writes behind the message that it is given, so each reader gets a copy.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	webpush "github.com/SherClockHolmes/webpush-go"
)

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func cpu() float64 {
	var used syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &used))
	return float64(used.Utime.Nano()+used.Stime.Nano()) / 1e9
}

func main() {
	var asked struct {
		Subscriptions []*webpush.Subscription
		WarmUp        int `json:"warm_up"`
		Payload, CA   string
		Vapid         struct{ Subject, PublicKey, PrivateKey string }
	}
	check(json.NewDecoder(os.Stdin).Decode(&asked))
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(asked.CA))
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: true,
	}
	options := &webpush.Options{
		HTTPClient:      &http.Client{Transport: transport},
		RecordSize:      uint32(86 + len(asked.Payload) + 1 + 16),
		Subscriber:      strings.TrimPrefix(asked.Vapid.Subject, "mailto:"),
		TTL:             14400,
		Urgency:         webpush.UrgencyHigh,
		VAPIDPublicKey:  asked.Vapid.PublicKey,
		VAPIDPrivateKey: asked.Vapid.PrivateKey,
	}
	send := func(subscriptions []*webpush.Subscription) (accepted int64) {
		left := make(chan *webpush.Subscription)
		var all sync.WaitGroup
		for i := 0; i < 16; i++ {
			all.Add(1)
			go func() {
				defer all.Done()
				for one := range left {
					answer, err := webpush.SendNotification([]byte(asked.Payload), one, options)
					check(err)
					io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
					if answer.StatusCode == 201 && answer.ProtoMajor == 2 {
						atomic.AddInt64(&accepted, 1)
					}
				}
			}()
		}
		for _, one := range subscriptions {
			left <- one
		}
		close(left)
		all.Wait()
		return
	}
	send(asked.Subscriptions[:asked.WarmUp])
	before := cpu()
	accepted := send(asked.Subscriptions[asked.WarmUp:])
	took := cpu() - before
	check(json.NewEncoder(os.Stdout).Encode(map[string]any{"accepted": accepted, "cpu": took}))
}
