# One name for visitors, which leads to the nearest region that is well. A region counts as lost after three probes that
# failed, ten seconds apart; resolvers keep an answer for a minute.

resource "aws_route53_health_check" "this" {
  fqdn              = var.region_host
  type              = "HTTPS"
  port              = 443
  resource_path     = "/readyz"
  request_interval  = 10
  failure_threshold = 3
  measure_latency   = true

  tags = {
    Name = var.region_host
  }
}

# The region's own name, which the probe asks.
resource "aws_route53_record" "region" {
  #checkov:skip=CKV2_AWS_23:what stands behind the name is the load balancer of the Gateway in the cluster
  zone_id = var.zone_id
  name    = var.region_host
  type    = "CNAME"
  ttl     = 60
  records = [var.load_balancer_host]
}

resource "aws_route53_record" "public" {
  #checkov:skip=CKV2_AWS_23:the same
  zone_id         = var.zone_id
  name            = var.public_host
  type            = "CNAME"
  ttl             = 60
  records         = [var.load_balancer_host]
  set_identifier  = var.region_host
  health_check_id = aws_route53_health_check.this.id

  latency_routing_policy {
    region = var.aws_region
  }
}
