// A registry in memory, as strict OCI as it gets: CUE Labs' implementation of the specification, served.
//
// It has what distribution lacks: the referrers API. By itself it leaves the tags of a manifest that is
// deleted behind; here they go with it, as with the products that people run, unless it is told otherwise.
package main

import (
	"context"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"cuelabs.dev/go/oci/ociregistry"
	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
)

// withTags deletes a manifest's tags with it.
type withTags struct{ ociregistry.Interface }

func (registry withTags) DeleteManifest(ctx context.Context, repository string, digest ociregistry.Digest) error {
	for tag, err := range registry.Tags(ctx, repository, "") {
		if err != nil {
			return err
		}
		found, err := registry.ResolveTag(ctx, repository, tag)
		if err == nil && found.Digest == digest {
			if err := registry.DeleteTag(ctx, repository, tag); err != nil {
				return err
			}
		}
	}
	return registry.Interface.DeleteManifest(ctx, repository, digest)
}

func main() {
	address := flag.String("address", "127.0.0.1:0", "where to listen")
	certificate := flag.String("certificate", "", "serve TLS with this certificate")
	key := flag.String("key", "", "and this key")
	identity := flag.String("identity", "", "sent with each answer as X-Reaper-Devtools")
	username := flag.String("username", "", "who may log in, by Basic; everybody if empty")
	password := flag.String("password", "", "the password")
	page := flag.Int("max-page-size", 0, "refuse larger pages")
	noDigest := flag.Bool("omit-digest", false, "do not tell the digest of what a tag stands for, as some clouds")
	leaveTags := flag.Bool("leave-tags", false, "leave the tags of a manifest that is deleted")
	flag.Parse()

	var store ociregistry.Interface = ocimem.New()
	if !*leaveTags {
		store = withTags{store}
	}
	registry := ociserver.New(store, &ociserver.Options{
		MaxListPageSize:              *page,
		OmitDigestFromTagGetResponse: *noDigest,
	})
	handler := http.HandlerFunc(func(answer http.ResponseWriter, request *http.Request) {
		log.Printf("%s %s", request.Method, request.URL)
		answer.Header().Set("X-Reaper-Devtools", *identity)
		name, word, _ := request.BasicAuth()
		if *username != "" && (name != *username || word != *password) {
			answer.Header().Set("WWW-Authenticate", `Basic realm="devtools"`)
			http.Error(answer, "", http.StatusUnauthorized)
			return
		}
		registry.ServeHTTP(answer, request)
	})

	server := http.Server{Addr: *address, Handler: handler}
	stop, _ := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	go func() {
		<-stop.Done()
		server.Close()
	}()
	var err error
	if *certificate != "" {
		err = server.ListenAndServeTLS(*certificate, *key)
	} else {
		err = server.ListenAndServe()
	}
	if err != http.ErrServerClosed {
		log.Fatal(err)
	}
}
