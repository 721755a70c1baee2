// Posts bodies of zeros with the JDK's HttpClient and prints each status, or the exception.
// Arguments: URL, number of requests, size of a body in bytes.

import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

public class Post {
    public static void main(String[] arguments) throws Exception {
        var client = HttpClient.newHttpClient();
        var body = new byte[Integer.parseInt(arguments[2])];
        for (int count = Integer.parseInt(arguments[1]); count > 0; count--) {
            var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                .header("Content-Type", "application/json")
                .POST(BodyPublishers.ofByteArray(body)).build();
            try {
                var response = client.send(request, BodyHandlers.ofString());
                var retryAfter = response.headers().firstValue("Retry-After").orElse("-");
                System.out.println(response.statusCode() + " " + retryAfter);
            } catch (java.io.IOException error) {
                System.out.println(error.toString());
            }
        }
    }
}
