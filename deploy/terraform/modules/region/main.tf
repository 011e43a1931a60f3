# All that one region of the shop stands on. Both regions are made from this, so that they cannot drift apart.

module "keys" {
  source = "../keys"

  name = var.name
}

module "network" {
  source = "../network"

  name         = var.name
  cidr         = var.cidr
  zones        = var.zones
  logs_key_arn = module.keys.arns["logs"]
}

module "cluster" {
  source = "../cluster"

  name               = var.name
  kubernetes_version = var.kubernetes_version
  subnet_ids         = module.network.node_subnet_ids
  instance_type      = var.node_type
  nodes_min          = var.nodes_min
  nodes_max          = var.nodes_max
  key_arn            = module.keys.arns["cluster"]
  logs_key_arn       = module.keys.arns["logs"]
}

module "database" {
  source = "../database"

  name           = var.name
  vpc_id         = module.network.vpc_id
  subnet_ids     = module.network.database_subnet_ids
  client_cidrs   = module.network.node_cidrs
  instance_class = var.database_class
  storage_gb     = var.database_gb
  source_arn     = var.database_source_arn
  key_arn        = module.keys.arns["database"]
}

module "cache" {
  source = "../cache"

  name         = var.name
  vpc_id       = module.network.vpc_id
  subnet_ids   = module.network.cache_subnet_ids
  client_cidrs = module.network.node_cidrs
  node_type    = var.cache_type
  key_arn      = module.keys.arns["cache"]
}

module "queue" {
  source = "../queue"

  name    = var.name
  key_arn = module.keys.arns["queue"]
}

module "dns" {
  source = "../dns"

  zone_id            = var.zone_id
  public_host        = var.public_host
  region_host        = var.region_host
  load_balancer_host = var.load_balancer_host
  aws_region         = var.aws_region
}

# What becomes the Secret `shop-stores` in the cluster. The password of Postgres is in a secret that RDS keeps and turns.
resource "aws_secretsmanager_secret" "stores" {
  #checkov:skip=CKV2_AWS_57:the cache's password is turned by a plan that replaces random_password
  name                    = "${var.name}/stores"
  kms_key_id              = module.keys.arns["secrets"]
  recovery_window_in_days = 30
}

resource "aws_secretsmanager_secret_version" "stores" {
  secret_id = aws_secretsmanager_secret.stores.id

  secret_string = jsonencode({
    POSTGRES_HOST   = module.database.host
    SHOP_VALKEY_URL = module.cache.url
  })
}
